"""What parallel requests write to a session while a sign-in replaces it.

The sign-in copies the old session first and deletes it last. A write between the two was acknowledged, so it must be in the
new session too. The deletion returns the last fields of the old session. A field that differs from the copy was written late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SessionTooLarge, StoreUnavailable
from ...logs import get_logger
from ..model.fields import DATA_PREFIX, FLASH_PREFIX, Delta
from ..model.messages import joined
from ..store.room import fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.fields import Fields
    from ..model.record import SessionRecord
    from ..store.session_store import SessionStore

log = get_logger(__name__)

_PREFIXES = (DATA_PREFIX.encode(), FLASH_PREFIX.encode())


class LateWrites:
    """Writes them to the new session. `max_bytes`: how much data a session may hold."""

    def __init__(self, store: SessionStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes

    async def bring(self, record: SessionRecord, copied: Mapping[str, bytes], last: Fields, own: Delta) -> None:
        """Write to the record's session the late writes to the session that it replaces. Raises nothing.

        `copied`: the fields that the sign-in copied. `last`: the old session's fields when it was deleted. `own`: the changes
        of this request, which win. If the late writes cannot be stored, this is logged, because the sign-in is committed.
        """
        late = late_writes(copied, last, own)
        if not late:
            return
        before = record.stored_data()
        wanted = {name: value for name, value in (before | late).items() if value is not None}
        after = {name: value for name, value in fitted(wanted, self._max_bytes).items() if isinstance(value, bytes)}
        delta = Delta(
            values={name: value for name, value in after.items() if before.get(name) != value},
            deleted=[name for name in before if name not in after],
        )
        if not delta:
            return
        try:
            saved = await self._store.save(record.ref, delta, renew=False)
        except (StoreUnavailable, SessionTooLarge) as error:
            log.error(
                "session_data_lost",
                session=record.ref.handle,
                fields=sorted(late),
                reason=str(error),
                cause="other requests wrote them while a sign-in replaced the session",
            )
            return
        if saved is not None:
            others = {name: value for name, value in record.fields.items() if name[:1] not in _PREFIXES}
            record.refresh(others | {name.encode(): value for name, value in after.items()})


def late_writes(copied: Mapping[str, bytes], last: Fields, own: Delta) -> dict[str, bytes | None]:
    """The values of the fields that differ, by name; None if the field was deleted. The request's own messages are added."""
    after = _data(last)
    late: dict[str, bytes | None] = {}
    for name in copied.keys() | after.keys():
        value = after.get(name)
        if value == copied.get(name) or name in own.values or name in own.deleted:
            continue
        late[name] = joined(value, own.appended[name]) if name in own.appended else value
    return late


def _data(fields: Fields) -> dict[str, bytes]:
    """The values of the application and the messages. A name that is not UTF-8 is left out."""
    return {
        name.decode(): value
        for name, value in fields.items()
        if name[:1] in _PREFIXES and name.decode(errors="ignore").encode() == name
    }
