"""Users, their passwords and groups, registration, what mailed links prove, what operators do, and limits for all of it.

Also what applications behind a proxy are told of their users (`Assertions`).
"""

from .accounts import ACCOUNTS, Accounts
from .assertions import ASSERTIONS, Assertions
from .known_users import Facts
from .operators import OPERATORS, Operators
from .proofs import PROOFS, Proofs
from .registration import REGISTRATION, Registration
from .users import User

__all__ = [
    "ACCOUNTS",
    "ASSERTIONS",
    "OPERATORS",
    "PROOFS",
    "REGISTRATION",
    "Accounts",
    "Assertions",
    "Facts",
    "Operators",
    "Proofs",
    "Registration",
    "User",
]
