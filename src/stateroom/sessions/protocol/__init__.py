"""What is believed, and in which order things happen."""
