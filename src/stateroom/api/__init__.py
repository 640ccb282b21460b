"""JSON over HTTP, a file a resource. It uses the library's public face only."""
