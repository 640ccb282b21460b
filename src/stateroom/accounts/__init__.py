"""Users, their passwords, and the throttle for sign-ins."""

from .accounts import ACCOUNTS, Accounts
from .users import User

__all__ = ["ACCOUNTS", "Accounts", "User"]
