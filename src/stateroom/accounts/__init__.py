"""Users, their passwords and groups, registration, what mailed links prove, what operators do, and limits for all of it."""

from .accounts import ACCOUNTS, Accounts
from .operators import OPERATORS, Operators
from .proofs import PROOFS, Proofs
from .registration import REGISTRATION, Registration
from .users import User

__all__ = ["ACCOUNTS", "OPERATORS", "PROOFS", "REGISTRATION", "Accounts", "Operators", "Proofs", "Registration", "User"]
