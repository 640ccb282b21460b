"""The revisions, one in each file."""
