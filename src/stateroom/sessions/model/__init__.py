"""What a session is. No I/O, and no import from the other rooms of `sessions`."""
