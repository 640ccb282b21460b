"""All stored facts of one user's sessions, in their stored form, for an export of personal data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model.fields import DATA_PREFIX, FLASH_PREFIX, SIGNED_IN, by_prefix
from .model.identity import UserId, user_key
from .model.listing import SessionInfo
from .model.values import decode_value

if TYPE_CHECKING:
    from .model.fields import Fields
    from .model.rows import Row
    from .wiring import Parts


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A stored session. `signed_in_ms`: milliseconds since the epoch; 0 if no password was given."""

    info: SessionInfo
    signed_in_ms: int
    data: dict[str, Any]
    messages: dict[str, str]


@dataclass(frozen=True, slots=True)
class KeptOfUser:
    """`ends`: the journal's rows, in order. `generation`: the user's; each end of all sessions raises it."""

    sessions: list[KeptSession]
    ends: list[Row]
    generation: int


async def kept_of_user(parts: Parts, user_id: UserId) -> KeptOfUser:
    """Leaves nothing out: if something cannot be read, it raises `StoreUnavailable` or `DatabaseUnavailable`."""
    user = user_key(user_id)
    sessions = [_kept(handle, fields) for handle, fields in await parts.store.of_user(user)]
    return KeptOfUser(sessions, await parts.journal.of_user(user), (await parts.journal.current(user)).generation)


def _kept(handle: str, fields: Fields) -> KeptSession:
    return KeptSession(
        info=SessionInfo.of(handle, fields),
        signed_in_ms=int(fields.get(SIGNED_IN, 0)),
        data={key: decode_value(value) for key, value in by_prefix(fields, DATA_PREFIX).items()},
        messages={kind: text.decode(errors="replace") for kind, text in by_prefix(fields, FLASH_PREFIX).items()},
    )
