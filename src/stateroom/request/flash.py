"""Flash messages: shown once, after the next page or call.

They are fields of the session that are appended to, and taken in one atomic step. So parallel requests neither lose a
message nor show it twice. `sessions/model/messages.py` says how many are kept.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..sessions.model.fields import flash_field
from ..sessions.model.messages import FLASH_MAX_BYTES, FLASH_MAX_LINES
from ..sessions.model.session import Session, record_of, take

FlashKind = Literal["success", "error", "warning", "info"]
FLASH_KINDS: tuple[FlashKind, ...] = get_args(FlashKind)

__all__ = ["FLASH_KINDS", "FLASH_MAX_BYTES", "FLASH_MAX_LINES", "FlashKind", "flash", "take_flashes"]


def flash(session: Session, kind: FlashKind, message: str) -> None:
    """Leave a message for the next `take_flashes`.

    The last `FLASH_MAX_LINES` lines of each kind are kept, and at most `FLASH_MAX_BYTES` bytes. If the session's data leaves
    too little room, the oldest messages are dropped.
    Raises `ValueError` for another kind, for a message of more than `FLASH_MAX_BYTES`, and for a lone surrogate; `TypeError`
    for anything but a str; `StoreUnavailable` while Redis is unavailable.
    """
    if kind not in FLASH_KINDS:
        raise ValueError(f"a flash message is one of {', '.join(FLASH_KINDS)}, not {kind!r}")
    record_of(session).add_flash(kind, message)


async def take_flashes(session: Session) -> dict[str, str]:
    """The messages so far, by kind: `{"flash_success": "Added."}`. Several messages of one kind are lines of one text.

    Each is returned once. Raises `SessionEnded`, `StoreUnavailable`, `DatabaseUnavailable`. If it raises, the messages of
    this request are still there.
    """
    stored = await take(session, [flash_field(kind) for kind in FLASH_KINDS])
    now = record_of(session).drain_flashes()  # only now: if Redis fails, they are still to be stored
    flashes = {}
    for kind, value in zip(FLASH_KINDS, stored, strict=True):
        lines = [each for each in (value.decode(errors="replace") if value else "", now.get(kind, "")) if each]
        if lines:
            flashes[f"flash_{kind}"] = "\n".join(lines)
    return flashes
