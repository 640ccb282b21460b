"""Opens sockets to the servers of the service: looks up their names, and tries their addresses."""
