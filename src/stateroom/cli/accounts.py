"""The subcommands that make accounts, invite people, set passwords and change groups. `accounts/operators.py` has the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..accounts.mail_tokens import LIFETIME_MS
from ..errors import BadInput, SettingsError
from ..plurals import counted
from .admin import user_document
from .answer import Answer, ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ..accounts.mail_tokens import Purpose
    from .service import Service

T = TypeVar("T")


async def add_user(
    service: Service, email: str, *, name: str, groups: Sequence[str], password: str | None, is_printed: bool
) -> Answer:
    """Make an account. Without a password: with a link to set one. Raises what `Operators.add` raises."""
    if password is not None:
        user = await _valid(service.operators.add(email, name, password, groups=groups))
        return Answer([f"{user.address} is added"], {"user": user_document(user)})
    by_mail = service.operators.has_mail and not is_printed
    user, link = await _valid(service.operators.add_without_password(email, name, groups=groups, by_mail=by_mail))
    return Answer([f"{user.address} is added", *_lines("reset", link)], {"user": user_document(user), **_document(link)})


async def invite(service: Service, email: str, *, groups: Sequence[str], is_printed: bool) -> Answer:
    """Invite somebody to make an account. Raises what `Operators.invite` raises."""
    by_mail = service.operators.has_mail and not is_printed
    link = await _valid(service.operators.invite(email, groups=groups, by_mail=by_mail))
    return Answer([f"{email} is invited", *_lines("invitation", link)], {"invited": email, **_document(link)})


async def make_reset_link(service: Service, email: str, *, is_printed: bool) -> Answer:
    """Make a link that sets a new password. Raises `NotFound`, and what `Operators.reset_link` raises."""
    user = await service.user(email)
    by_mail = service.operators.has_mail and not is_printed
    link = await service.operators.reset_link(user, by_mail=by_mail)
    return Answer(_lines("reset", link), {"user": user_document(user), **_document(link)})


async def set_password(service: Service, email: str, password: str) -> Answer:
    """Set a password at once, and end the user's sessions. Raises `NotFound`, and what `Operators.set_password` raises."""
    user = await service.user(email)
    count = await _valid(service.operators.set_password(user, password))
    line = f"the password of {user.address} is changed; {ended(count)}"
    return Answer([line], {"user": user_document(user), "sessions_ended": count})


async def groups_of(service: Service, email: str, *, add: Sequence[str], remove: Sequence[str]) -> Answer:
    """Change a user's groups, if there is a change, and show them. Raises `NotFound`, `DatabaseUnavailable`."""
    user = await service.user(email)
    if add or remove:
        names = await _valid(service.operators.change_groups(user, add=add, remove=remove))
    else:
        names = await service.accounts.groups.of(user.id)
    return Answer(names or [f"{user.address} is in no group"], {"user": user_document(user), "groups": names})


async def _valid(step: Awaitable[T]) -> T:
    """The result of a step. If the input is invalid, an argument of the command is: raises `SettingsError`."""
    try:
        return await step
    except BadInput as error:
        raise SettingsError(str(error)) from None


def _lines(purpose: Purpose, link: str | None) -> list[str]:
    """Where the link is: in a mail that the service sends, or on a line of its own."""
    hours = LIFETIME_MS[purpose] // 3_600_000
    lifetime = counted(hours // 24, "day") if hours >= 24 else counted(hours, "hour")
    what = "makes the account" if purpose == "invitation" else "sets a new password"
    if link is None:
        return [f"the service sends a mail with a link that {what}; the link is valid for {lifetime}"]
    return [f"this link {what}; it is valid once, for {lifetime}:", link]


def _document(link: str | None) -> dict[str, object]:
    return {"mailed": link is None, "link": link}
