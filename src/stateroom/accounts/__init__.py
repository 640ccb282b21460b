"""Users, their passwords and groups, registration, what mailed links prove, what operators do, and limits for all of it.

Also who may enter which application (`Access`), and what an application behind a proxy is told of its user (`Assertions`).
"""

from .access import ACCESS, Access
from .accounts import ACCOUNTS, Accounts
from .assertions import ASSERTIONS, Assertions
from .known_users import Facts
from .operators import OPERATORS, Operators
from .proofs import PROOFS, Proofs
from .registration import REGISTRATION, Registration
from .user import User

__all__ = [
    "ACCESS",
    "ACCOUNTS",
    "ASSERTIONS",
    "OPERATORS",
    "PROOFS",
    "REGISTRATION",
    "Access",
    "Accounts",
    "Assertions",
    "Facts",
    "Operators",
    "Proofs",
    "Registration",
    "User",
]
