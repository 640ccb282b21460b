"""A user, and the table that has a row for each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, String, Table, UniqueConstraint, text

from ..database import metadata
from .chosen import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("email", String(MAX_EMAIL_LENGTH), nullable=False),
    Column("name", String(MAX_NAME_LENGTH), nullable=False),
    Column("password_hash", String(200), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger, nullable=True),
    Column("typed_email", String(MAX_EMAIL_LENGTH), nullable=True),
    Column("verified_at", BigInteger, nullable=True),
    Column("must_verify", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("email", name="uq_users_email"),
)
"""Ids are random (`new_id` of users.py): a sequence would give one again after the database was restored from a backup.

`email` is the form in which addresses are compared, `typed_email` the address as it was typed; None in rows of earlier
releases. `must_verify`: whether the account was made while `EMAIL_VERIFICATION` was on, and its owner has not proved the address
since. `verified_at`: when the owner did.
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user. `created_at`, `disabled_at` and `verified_at` are in milliseconds since the epoch.

    `email`: in the form in which addresses are compared. `verified_at`: when the owner proved the address; None if nobody did.
    `must_verify`: whether the account counts as unverified until then.
    `generation`: how often all sessions of the user had been ended at the moment when this row was read, and `epoch`: the
    deployment's then.
    """

    id: int
    email: str
    name: str
    password_hash: str
    created_at: int
    disabled_at: int | None
    typed_email: str | None = None
    verified_at: int | None = None
    must_verify: int = 0
    generation: int = 0
    epoch: str = ""

    @property
    def address(self) -> str:
        """The address as it was typed. Mails go there."""
        return self.typed_email or self.email

    @property
    def is_verified(self) -> bool:
        """Whether nothing is left to verify: the address was proved, or the account was made without a verification.

        Whether others may rely on the address is another question: trusted.py.
        """
        return not self.must_verify

    @property
    def is_disabled(self) -> bool:
        """Whether the account is disabled: its user cannot sign in."""
        return self.disabled_at is not None
