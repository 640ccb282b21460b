"""The subcommands that list users and sessions, disable and enable users, and end sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..logs import security_event
from .answer import Answer, columns, ended

if TYPE_CHECKING:
    from ..accounts import User
    from .service import Service


async def list_users(service: Service) -> Answer:
    """One line for each user. Raises `DatabaseUnavailable`."""
    users, groups = await service.accounts.users.list(), await service.accounts.groups.of_everybody()
    rows = [
        (
            str(user.id), user.email, user.name, "disabled" if user.is_disabled else "active", _verified(user),
            ", ".join(groups.get(user.id, ())),
        )
        for user in users
    ]  # fmt: skip
    lines = columns(("ID", "EMAIL", "NAME", "STATE", "VERIFIED", "GROUPS"), rows) if rows else ["there are no users"]
    return Answer(lines, {"users": [{**user_document(user), "groups": groups.get(user.id, [])} for user in users]})


async def disable_user(service: Service, email: str) -> Answer:
    """Disable an account and end its sessions. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.disable(user)
    security_event("disable", user_id=user.id, count=count)
    line = f"{user.email} is disabled; {ended(count)}"
    return Answer([line], {"user": {**user_document(user), "disabled": True}, "sessions_ended": count})


async def enable_user(service: Service, email: str) -> Answer:
    """Enable an account again. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    await service.accounts.users.enable(user.id)
    security_event("enable", user_id=user.id)
    return Answer([f"{user.email} is enabled"], {"user": {**user_document(user), "disabled": False}})


async def list_sessions(service: Service, email: str | None) -> Answer:
    """One line for each live session of one user, or of all users.

    Raises `NotFound`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    listed = [(user, each) for user in await service.chosen(email) for each in await service.sessions.list(user.id)]
    rows = [
        (user.email, each.id, f"{each.last_access:%Y-%m-%dT%H:%M:%SZ}", each.ip_address, each.device_type) for user, each in listed
    ]
    none = "there are no live sessions" if email is None else f"{email} has no live sessions"
    lines = columns(("EMAIL", "SESSION", "LAST ACCESS", "IP ADDRESS", "DEVICE"), rows) if rows else [none]
    return Answer(
        lines,
        {
            "sessions": [
                {"user": user.email, "id": each.id, "last_access": each.last_access.isoformat(), "ip_address": each.ip_address,
                 "device_type": each.device_type}
                for user, each in listed
            ]
        },
    )  # fmt: skip


async def revoke_sessions(service: Service, email: str) -> Answer:
    """End the sessions of one user. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    count = await service.sessions.revoke_all(user.id, reason="revoked")
    security_event("revoke_all", user_id=user.id, count=count)
    return Answer([ended(count)], {"sessions_ended": count})


async def revoke_everybody(service: Service) -> Answer:
    """End every session of the deployment, also those of deleted accounts. Raises `DatabaseUnavailable`."""
    count = await service.sessions.end_everybody()
    security_event("everybody_out", count=count)
    return Answer([ended(count)], {"sessions_ended": count})


def user_document(user: User) -> dict[str, object]:
    """A user in JSON. `verified`: whether nothing is left to verify. `proved`: whether somebody has proved the address."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "disabled": user.is_disabled,
        "verified": user.is_verified,
        "proved": user.verified_at is not None,
    }


def _verified(user: User) -> str:
    if user.verified_at is not None:
        return "yes"
    return "unproved" if user.is_verified else "no"
