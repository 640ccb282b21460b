"""Users, their passwords and groups, registration, what mailed links prove, and limits for all of it."""

from .accounts import ACCOUNTS, Accounts
from .proofs import PROOFS, Proofs
from .registration import REGISTRATION, Registration
from .users import User

__all__ = ["ACCOUNTS", "PROOFS", "REGISTRATION", "Accounts", "Proofs", "Registration", "User"]
