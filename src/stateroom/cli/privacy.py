"""Exports and erases all data about a user. docs/privacy.md lists that data."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import StoreUnavailable
from ..logs import security_event
from ..sessions.model.rows import REGISTERED
from .answer import Answer, ended

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..accounts import User
    from ..sessions.kept import KeptSession
    from .service import Service


async def export_user(service: Service, email: str) -> Answer:
    """All data about a user. If a part of it cannot be read, this raises an error and shows nothing.

    Raises `NotFound`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    user = await service.user(email)
    kept = await service.sessions.kept_of_user(user.id)
    sessions = [_session(each) for each in kept.sessions]
    document = {
        "user": {
            "id": user.id,
            "email": user.email,
            "typed_email": user.typed_email,
            "verified_at": _moment(user.verified_at),
            "must_verify": bool(user.must_verify),
            "name": user.name,
            "password": "kept as a bcrypt hash",
            "created_at": _moment(user.created_at),
            "disabled_at": _moment(user.disabled_at),
        },
        "groups": await service.accounts.groups.of(user.id),
        "links": [
            {
                "purpose": link.purpose,
                "address": link.address,
                "created_at": _moment(link.created_at),
                "expires_at": _moment(link.expires_at),
                **_shown(link.details),
            }
            for link in await service.accounts.kept_mails.links(user)
        ],
        "waiting_mails": [
            {
                "kind": mail.kind,
                "address": mail.address,
                "created_at": _moment(mail.created_at),
                "tried_next_at": _moment(mail.due_at),
                "attempts": mail.attempts,
                **_shown(mail.details),
            }
            for mail in await service.accounts.kept_mails.waiting(user)
        ],
        "sessions": sessions,
        "ended_sessions": [
            {
                "id": row.handle or "all",
                "reason": row.reason,
                "ended_at": _moment(row.ended_at),
                "kept_until": _moment(row.expires_at),
                **({"became": row.successor} if row.successor else {}),
            }
            for row in kept.ends
            if row.reason != REGISTERED
        ],
        "times_all_sessions_were_ended": kept.generation,
        "failed_sign_ins": {
            address: failures
            for address in _addresses(sessions)
            if (failures := await service.accounts.attempts.throttle.failures(user.email, address))
        },
    }
    security_event("export", user_id=user.id)
    return Answer([json.dumps(document, indent=2, ensure_ascii=False)], document)


async def erase_user(service: Service, email: str) -> Answer:
    """Erase a user. The account is deleted last, so that an administrator can repeat a command that failed halfway.

    Raises `NotFound`, `DatabaseUnavailable`.
    """
    user = await service.user(email)
    await _forget_failures(service, user)
    count = await service.disable(user)
    await service.accounts.erase(user)
    security_event("erase", user_id=user.id, count=count)
    lines = [f"{user.email} is erased; {ended(count)}"]
    if count is None:
        lines.append(
            "Redis still holds the data of these sessions; it is deleted when Redis is available again, or when the sessions expire"
        )
    return Answer(lines, {"erased": user.email, "sessions_ended": count})


async def _forget_failures(service: Service, user: User) -> None:
    """Delete the failure counts of the addresses in the user's sessions.

    Counts of other addresses expire within LOGIN_WINDOW, and contain only hashes.
    """
    try:
        listed = await service.sessions.list(user.id)
        for address in {each.ip_address for each in listed} - {""}:
            await service.accounts.attempts.throttle.forget(user.email, address)
    except StoreUnavailable:  # The counts expire.
        pass


def _session(kept: KeptSession) -> dict[str, Any]:
    listed = {name: each.isoformat() if isinstance(each, datetime) else each for name, each in asdict(kept.info).items()}
    return {**listed, "signed_in_at": _moment(kept.signed_in_ms), "data": kept.data, "messages": kept.messages}


def _shown(details: Mapping[str, Any]) -> dict[str, Any]:
    """What a link or a mail knows about its user: another address, and groups of an invitation. The rest is for our checks."""
    names = {"former": "former_address", "new": "new_address", "groups": "groups"}
    return {names[name]: value for name, value in details.items() if name in names}


def _addresses(sessions: list[dict[str, Any]]) -> list[str]:
    return sorted({str(each["ip_address"]) for each in sessions} - {""})


def _moment(milliseconds: int | None) -> str | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat() if milliseconds else None
