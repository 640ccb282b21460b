"""The session manager: every step of a session's life, for code with and without a request."""

from .session_manager import SessionManager

__all__ = ["SessionManager"]
