"""Runs the service: as one process in the foreground, or as several workers and a supervisor."""
