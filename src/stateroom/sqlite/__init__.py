"""SQLite for a service. Each process has one writer, which commits many steps at once, and readers that never wait for it."""
