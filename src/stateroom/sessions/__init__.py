"""The heart: sessions over a Redis client and a journal, and the middleware that brings them to requests."""
