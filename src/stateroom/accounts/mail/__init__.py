"""Mails to users: rows that wait in the user database, what they say, and the worker that sends them."""
