"""Users, their passwords and groups, registration, what mailed links prove, what operators do, limits, and access rules."""

from .access import ACCESS, Access
from .accounts import ACCOUNTS, Accounts
from .operators import OPERATORS, Operators
from .proofs import PROOFS, Proofs
from .registration import REGISTRATION, Registration
from .users import User

__all__ = [
    "ACCESS", "ACCOUNTS", "OPERATORS", "PROOFS", "REGISTRATION",
    "Access", "Accounts", "Operators", "Proofs", "Registration", "User",
]  # fmt: skip
