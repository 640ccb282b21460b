"""Who someone is: users, passwords, throttled sign-ins."""

from .accounts import ACCOUNTS, Accounts
from .users import User

__all__ = ["ACCOUNTS", "Accounts", "User"]
