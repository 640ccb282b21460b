"""SQLite for a service: one writer in each process, which commits for many at once, and readers that never wait for it."""
