"""The ends of sessions, in the user database."""
