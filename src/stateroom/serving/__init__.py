"""The service as processes: one in the foreground, or several workers and the process that looks after them."""
