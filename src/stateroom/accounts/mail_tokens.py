"""Tokens of mailed links: they prove that somebody reads the mail of an address.

A token has 256 bits. It is derived from the deployment's first cookie key, the mail's id and its purpose. So the table of waiting
mails holds no secret, and a mail that is sent twice has the same link. The table of tokens holds only a hash, which is
bound to the purpose and the deployment: a token for one purpose is invalid for every other, and in a copy of the database
that has another `DEPLOYMENT`.

A token is used once: whoever deletes its row has used it. It carries the user's generation, so whatever ends all sessions
of the user makes it invalid too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import BigInteger, Column, Index, String, Table, Text, and_, delete, func, insert, or_, select, update

from ..database import metadata
from ..sessions.journal.database_time import NowMs
from ..sessions.journal.deployment_row import current_epoch
from ..sessions.journal.generations import generation_of, raises_of
from ..sessions.model.deployment import Current
from .chosen import MAX_EMAIL_LENGTH, normal_email
from .mail.outbox import mails
from .mail.over import deletion_of_rows_over

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..database import Steps
    from .user import User

Purpose = Literal["verify", "change", "reset", "invitation"]
"""What a token is good for."""

LIFETIME_MS: Mapping[Purpose, int] = {
    "verify": 3_600_000, "change": 3_600_000, "reset": 3_600_000, "invitation": 7 * 86_400_000,
}  # fmt: skip
NO_USER = Current(0, "")
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")

mail_tokens = Table(
    "mail_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("purpose", String(16), nullable=False),
    Column("mail_id", String(32), nullable=False),
    Column("user_id", BigInteger, nullable=True),
    Column("email", String(MAX_EMAIL_LENGTH), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("details", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_mail_tokens_user_id", "user_id"),
    Index("ix_mail_tokens_expires_at", "expires_at"),
)
compared_email = func.lower(mail_tokens.c.email)
"""The address in the form in which addresses are compared. It has an index, which serves only this expression."""
Index("ix_mail_tokens_lower_email", compared_email)
_LIVES = mail_tokens.c.expires_at > NowMs()
_DELETE_EXPIRED = deletion_of_rows_over(mail_tokens, mail_tokens.c.expires_at)
_IS_OF_THIS_EPOCH = or_(mail_tokens.c.user_id.is_(None), mail_tokens.c.epoch == current_epoch())


@dataclass(frozen=True, slots=True)
class MailToken:
    """A token's row. `email`: the address that it proves, as typed. `user_id`: None for an invitation.

    `generation`: the user's when the token was made. Times are milliseconds since the epoch, by the database's clock.
    """

    digest: str
    purpose: Purpose
    mail_id: str
    user_id: int | None
    email: str
    generation: int
    details: Mapping[str, Any]
    expires_at: int


class MailTokens:
    """The table of tokens. Each call that reads or writes it raises `DatabaseUnavailable`."""

    def __init__(self, database: Steps, deployment: Callable[[], tuple[str, str]], key: Callable[[], bytes]) -> None:
        """`deployment`: its id and name; raises `DatabaseUnavailable` while they are unknown. `key`: derives tokens."""
        self._database = database
        self._deployment = deployment
        self._key = key

    def derive(self, mail_id: str, purpose: Purpose, current: Current = NO_USER) -> str:
        """The token of a mail: 43 characters of base64url. With the same cookie key it is the same at each attempt.

        `current`: the generation and the epoch of the mail's user. A token that a reset has used up, or that another end of all
        sessions has made invalid, is therefore never made again, also if a restored database has its mail still.
        """
        bound = msgspec.msgpack.encode((mail_id, purpose, *current, *self._deployment()))
        return base64.urlsafe_b64encode(hmac.digest(self._key(), bound, "sha256")).rstrip(b"=").decode()

    async def issue(
        self,
        connection: AsyncConnection,
        mail_id: str,
        purpose: Purpose,
        *,
        email: str,
        user: User | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Make the token of a mail valid, from now for its lifetime, in a transaction of the caller. Returns the token.

        At a further attempt to send the mail, the lifetime begins again. `email`: the address that it proves, as typed.
        """
        current = NO_USER if user is None else Current(user.generation, user.epoch)
        token = self.derive(mail_id, purpose, current)
        digest = self._digest(token, purpose)
        await connection.execute(_DELETE_EXPIRED)
        expires_at = NowMs() + LIFETIME_MS[purpose]
        prolonged = update(mail_tokens).where(mail_tokens.c.digest == digest).values(expires_at=expires_at)
        if (await connection.execute(prolonged)).rowcount:
            return token
        values = {
            "digest": digest,
            "purpose": purpose,
            "mail_id": mail_id,
            "user_id": None if user is None else user.id,
            "email": email,
            "generation": current.generation,
            "epoch": current.epoch,
            "details": json.dumps(details or {}),
            "created_at": NowMs(),
            "expires_at": expires_at,
        }
        await connection.execute(insert(mail_tokens).values(values))
        return token

    async def find(self, token: str, *purposes: Purpose) -> MailToken | None:
        """The row of a token that is valid for one of these purposes; None if it is not."""
        if not _FORM.fullmatch(token):
            return None
        digests = [self._digest(token, each) for each in purposes]

        async def step(connection: AsyncConnection) -> MailToken | None:
            query = select(*(mail_tokens.c[each.name] for each in fields(MailToken))).where(
                mail_tokens.c.digest.in_(digests), _LIVES, _IS_OF_THIS_EPOCH, _generation_is(mail_tokens.c.generation)
            )
            row = (await connection.execute(query)).mappings().one_or_none()
            return None if row is None else MailToken(**{**row, "details": json.loads(row["details"])})

        return await self._database.read(step)

    async def use(self, connection: AsyncConnection, token: MailToken, *, has_raised: bool = False) -> bool:
        """Use a token up, in the transaction of what it allows. False if it is not valid any more; the caller raises then.

        Its mail is not sent again, because that would make the token valid again.
        `has_raised`: this transaction has raised the user's generation.
        """
        # The mail first, as in `void`: in another order two transactions could wait for each other.
        await connection.execute(delete(mails).where(mails.c.id == token.mail_id))
        is_current = _is_raised_once if has_raised else _generation_is
        is_valid = and_(_LIVES, _IS_OF_THIS_EPOCH, is_current(mail_tokens.c.generation))
        used = await connection.execute(delete(mail_tokens).where(mail_tokens.c.digest == token.digest, is_valid))
        return bool(used.rowcount)

    async def void(self, connection: AsyncConnection, user_id: int, *purposes: Purpose) -> None:
        """Make a user's tokens invalid, those for these purposes or all, in a transaction of the caller.

        The mails that would carry them are not sent.
        """
        kinds = purposes or tuple(LIFETIME_MS)
        await connection.execute(delete(mails).where(mails.c.user_id == user_id, mails.c.kind.in_(kinds)))
        await connection.execute(delete(mail_tokens).where(mail_tokens.c.user_id == user_id, mail_tokens.c.purpose.in_(kinds)))

    async def void_invitations(self, connection: AsyncConnection, email: str) -> None:
        """Make the invitations of an address invalid, in a transaction of the caller."""
        is_to_it = func.lower(mails.c.address) == normal_email(email)
        await connection.execute(delete(mails).where(mails.c.kind == "invitation", is_to_it))
        is_its = compared_email == normal_email(email)
        await connection.execute(delete(mail_tokens).where(mail_tokens.c.purpose == "invitation", is_its))

    def _digest(self, token: str, purpose: Purpose) -> str:
        bound = msgspec.msgpack.encode((token, purpose, *self._deployment()))
        return hashlib.sha256(bound).hexdigest()


async def delete_tokens_of(connection: AsyncConnection, user: User) -> None:
    """Delete all tokens that name a user or the user's address, in a transaction of the caller."""
    is_theirs = or_(mail_tokens.c.user_id == user.id, compared_email == user.email)
    await connection.execute(delete(mail_tokens).where(is_theirs))


def _generation_is(expected: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the token's user has this generation. An invitation has no user."""
    return or_(mail_tokens.c.user_id.is_(None), generation_of(mail_tokens.c.user_id) == expected)


def _is_raised_once(seen: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the generation of the token's user was raised once since. The next one may be more than one higher."""
    return raises_of(mail_tokens.c.user_id, seen) == 1
