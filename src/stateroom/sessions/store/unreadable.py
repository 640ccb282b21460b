"""Entries of an index that name no session. One bad entry must not break every list and every sweep that reads it."""

from __future__ import annotations

from ...logs import get_logger

log = get_logger(__name__)


def index_member(member: bytes) -> tuple[str, int, str] | None:
    """Handle, time of creation and user key of an entry of an expiry index; None, and a log line, if it is none."""
    try:
        handle, created, user = member.decode().split(":", 2)
        return handle, int(created), user
    except ValueError:
        log.warning("index_entry_unreadable", member=member)
        return None
