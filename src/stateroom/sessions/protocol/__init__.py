"""When a session is trusted, and in which order things happen."""
