"""The JSON API over HTTP, one file for each resource. Of the library it uses only the public names."""
