"""What is read and written in the table of users."""

from __future__ import annotations

import builtins
import secrets
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import Conflict
from ..sessions.journal.deployment_row import current_epoch
from ..sessions.journal.end_rows import note_registration
from ..sessions.journal.generations import GENERATION, generation_of
from ..sessions.journal.standby import check_primary
from ..sessions.model.identity import user_key
from .chosen import email_errors, normal_email, typed_email
from .user import User, users

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..database import Steps
    from ..sessions.model.identity import UserId

TAKEN = "an account with this email exists; sign in, or use another address"

LEAST_ID, GREATEST_ID = 2**32, 2**53 - 1
"""JSON numbers above 2^53 lose digits in JavaScript (RFC 8259, section 6)."""
_USERS = select(users, generation_of(users.c.id).label("generation"), current_epoch().label("epoch"))
_BY_EMAIL = _USERS.where(users.c.email == bindparam("email"))
_BY_ID = _USERS.where(users.c.id == bindparam("id"))
_CREATE = insert(users).returning(users, GENERATION.label("generation"), current_epoch().label("epoch"))
"""Building a statement takes longer than executing it, so those of each sign-in are built once.

`_CREATE` gets the user's key in the parameter `user`. In RETURNING a subquery cannot name the inserted row: SQLAlchemy would join
it with the whole table of users.
"""


class Users:
    """The table of users. Each call raises `DatabaseUnavailable`."""

    def __init__(self, database: Steps, longest_session_ms: int) -> None:
        self._database = database
        self._longest_session_ms = longest_session_ms

    async def create(
        self,
        email: str,
        name: str,
        password_hash: str,
        *,
        user_id: int | None = None,
        must_verify: bool = False,
        is_proved: bool = False,
        and_then: Callable[[AsyncConnection, User], Awaitable[None]] | None = None,
    ) -> User:
        """Store a new user, and note in the journal that there is one.

        `user_id`: a random one by default. `must_verify`: the account counts as unverified. `is_proved`: the owner has proved the
        address already. `and_then`: further writes in the same transaction; if it raises, there is no new user.
        Raises `Conflict` if there is an account with this email or this id, and what `and_then` raises.
        """
        if user_id is None:
            user_id = new_id()
        key = user_key(user_id)
        values: dict[str, Any] = {
            "id": user_id,
            "email": normal_email(email),
            "name": name,
            "password_hash": password_hash,
            "created_at": _now_ms(),
            "typed_email": typed_email(email),
            "verified_at": _now_ms() if is_proved else None,
            "must_verify": int(must_verify),
        }

        async def step(connection: AsyncConnection) -> User:
            user = User(**(await connection.execute(_CREATE, {**values, "user": key})).mappings().one())
            await note_registration(connection, key, longest_ms=self._longest_session_ms, registered_at=user.created_at)
            if and_then is not None:
                await and_then(connection, user)
            return user

        try:
            return await self._database.write(step)
        except IntegrityError:
            raise Conflict(TAKEN) from None

    async def by_email(self, email: str) -> User | None:
        """The user with this email, in any spelling of upper and lower case; None if there is none."""
        if email_errors(email):  # no user has it, and PostgreSQL refuses NUL characters
            return None
        return await self._one(_BY_EMAIL, {"email": normal_email(email)})

    async def by_id(self, user_id: int) -> User | None:
        """The user with this id; None if there is none."""
        return await self._one(_BY_ID, {"id": user_id})

    async def known(self, ids: Collection[UserId]) -> set[UserId]:
        """Those of these ids that users have. Raises `DatabaseUnavailable`, also for a standby, which may lack the newest."""
        numbers = [each for each in ids if isinstance(each, int)]

        async def step(connection: AsyncConnection) -> set[UserId]:
            await check_primary(connection)
            return set((await connection.execute(select(users.c.id).where(users.c.id.in_(numbers)))).scalars())

        return await self._database.read(step)

    async def list(self) -> list[User]:
        """All users, the oldest account first."""

        async def step(connection: AsyncConnection) -> builtins.list[User]:
            query = _USERS.order_by(users.c.created_at, users.c.id)
            return [User(**row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(step)

    async def hash_kinds(self, length: int) -> Sequence[str]:
        """How stored password hashes begin: the first `length` characters, each beginning once."""
        beginning = func.substr(users.c.password_hash, 1, length)

        async def step(connection: AsyncConnection) -> Sequence[str]:
            return (await connection.execute(select(beginning).distinct())).scalars().all()

        return await self._database.read(step)

    async def set_password_hash(
        self, user_id: int, password_hash: str, *, seen: str, within: AsyncConnection | None = None
    ) -> bool:
        """Replace a password hash. False if the stored hash is not `seen` any more.

        `within`: a connection whose transaction includes this change. Without it, the change is a transaction of its own.
        """
        unchanged = (users.c.id == user_id) & (users.c.password_hash == seen)
        return await self._set(unchanged, within, password_hash=password_hash)

    async def verify(self, user_id: int, email: str, *, within: AsyncConnection | None = None) -> bool:
        """Note that the owner has proved this address. False if the account has another one now, or is gone.

        `within`: as in `set_password_hash`.
        """
        return await self._set(_is(user_id, email), within, verified_at=_now_ms(), must_verify=0)

    async def change_email(self, user_id: int, former: str, typed: str, *, within: AsyncConnection) -> bool:
        """Give the account an address that its owner has proved. False if its address is not `former` any more.

        Raises SQLAlchemy's `IntegrityError` if another account has the address.
        """
        addresses = {"email": normal_email(typed), "typed_email": typed_email(typed)}
        return await self._set(_is(user_id, former), within, **addresses, verified_at=_now_ms(), must_verify=0)

    async def disable(self, user_id: int, *, within: AsyncConnection | None = None) -> None:
        """Disable an account. The time of an earlier disabling stays. `within`: as in `set_password_hash`."""
        await self._set((users.c.id == user_id) & users.c.disabled_at.is_(None), within, disabled_at=_now_ms())

    async def enable(self, user_id: int) -> None:
        """Enable a disabled account again."""
        await self._set(users.c.id == user_id, None, disabled_at=None)

    async def erase(self, user_id: int, *, within: AsyncConnection) -> None:
        """Delete the account, in a transaction of the caller. Its id is never given to another user."""
        await within.execute(delete(users).where(users.c.id == user_id))

    async def read(self, connection: AsyncConnection, *, user_id: int | None = None, email: str | None = None) -> User | None:
        """The user with this id or this email, read in a transaction of the caller; None if there is none."""
        if user_id is not None:
            return await _one(connection, _BY_ID, {"id": user_id})
        assert email is not None
        return await _one(connection, _BY_EMAIL, {"email": normal_email(email)})

    async def _one(self, query: Select[Any], values: dict[str, Any]) -> User | None:
        async def step(connection: AsyncConnection) -> User | None:
            return await _one(connection, query, values)

        return await self._database.read(step)

    async def _set(self, condition: Any, within: AsyncConnection | None, **values: Any) -> bool:
        async def step(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(update(users).where(condition).values(**values))).rowcount)

        return await (self._database.write(step) if within is None else step(within))


def new_id() -> int:
    """A user's id. Among a million users the chance that a new one has the id of another is one in nine thousand million."""
    return LEAST_ID + secrets.randbelow(GREATEST_ID - LEAST_ID + 1)


async def _one(connection: AsyncConnection, query: Select[Any], values: dict[str, Any]) -> User | None:
    row = (await connection.execute(query, values)).mappings().one_or_none()
    return None if row is None else User(**row)


def _is(user_id: int, email: str) -> Any:
    return (users.c.id == user_id) & (users.c.email == email)


def _now_ms() -> int:
    return int(time.time() * 1000)
