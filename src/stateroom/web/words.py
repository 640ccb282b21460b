"""What pages say, in plain words: why somebody was signed out, what is wrong, how long to wait, what a device is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import (
    BadInput,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    InvalidCredentials,
    Saturated,
    StateroomError,
    TooManyAttempts,
)

if TYPE_CHECKING:
    from .. import Settings

LABELS = {
    "name": "Name",
    "email": "Email",
    "password": "Password",
    "current_password": "Current password",
    "new_password": "New password",
}

_REASONS = {
    "expired": "Your session has expired. Sign in to go on.",
    "logout": "You have signed out.",
    "revoked": "This device was signed out from another device, or by an administrator. Sign in to go on.",
    "password": "Your password was changed, so every other device was signed out. Sign in with the new password.",
    "disabled": "This account was disabled. Ask whoever runs this service.",
    "rotated": "This session was replaced by a newer one. Sign in to go on.",
}


class Words(NamedTuple):
    title: str
    text: str


_STORE = Words(
    "We cannot look that up at the moment",
    "The storage of sessions cannot be reached. You have not been signed out, and nothing is lost.",
)
_PROBLEMS = {
    "session-storage-degraded": _STORE,
    "database-unavailable": Words("We cannot look that up at the moment", "The accounts cannot be reached. Nothing is lost."),
    "saturated": Words("Many people are signing in", "There is more to do than can be done at once."),
    "too-many-attempts": Words("Too many attempts", "To keep accounts safe, attempts are limited."),
    "foreign-origin": Words("That came from another site", "Nothing was changed. Open the page here and send it again."),
    "not-found": Words("There is no such page", "The address may be mistyped, or what it led to is gone."),
    "method-not-allowed": Words("That does not work here", "This address is not meant to be opened this way."),
    "session-too-large": Words("Your session holds too much", "It takes no more. Sign out and in again."),
}
_BY_STATUS = {
    413: Words("That was too much", "What was sent is larger than this page takes."),
    500: Words("Something went wrong", "The fault is ours. It has been noted under the number of this request."),
}
_OTHERS = Words("That did not work", "The page cannot make anything of what was sent.")


def why_signed_out(reason: str, settings: Settings) -> str:
    """One or two sentences for a session's end."""
    if reason == "limit":
        return (
            f"You signed in on another device. {devices_at_once(settings.session_max_per_user)}, "
            "so the oldest one, this one, was signed out."
        )
    return _REASONS.get(reason, _REASONS["expired"])


def devices_at_once(limit: int) -> str:
    """`SESSION_MAX_PER_USER`; another host may have no limit yet, or none any more."""
    return f"You can be signed in on {counted(limit, 'device')} at once" if limit else "The number of devices is limited"


def of_problem(slug: str, status: int) -> Words:
    return _PROBLEMS.get(slug) or _BY_STATUS.get(status) or _OTHERS


def of_form(error: StateroomError, *, is_signed_in: bool = False) -> list[FieldError]:
    """What is wrong with what was filled in, by field; the field is empty where it is none's fault.

    `is_signed_in`: the form asked for the password of somebody who is.
    """
    match error:
        case BadInput(errors=errors) if errors:
            return [FieldError(each.field, f"{LABELS[each.field]} {each.message}.") for each in sorted(errors, key=_place)]
        case InvalidCredentials() if is_signed_in:
            return [FieldError("current_password", "The current password is wrong.")]
        case InvalidCredentials():
            return [FieldError("password", "The email address or the password is wrong.")]
        case Conflict() if is_signed_in:
            return [FieldError("", "The password was changed from elsewhere a moment ago.")]
        case Conflict():
            return [FieldError("email", "There is an account with this email address. Sign in, or use another address.")]
        case TooManyAttempts(retry_after=seconds):
            return [FieldError("", f"Too many attempts. Try again in {duration(seconds)}.")]
        case Saturated(retry_after=seconds):
            return [FieldError("", f"Many people are signing in. Try again in {duration(seconds)}.")]
        case DatabaseUnavailable():
            return [FieldError("", "The accounts cannot be reached at the moment. Nothing was changed; try again soon.")]
    words = of_problem(error.slug, error.status)
    return [FieldError("", f"{words.title}. {words.text}")]


def _place(error: FieldError) -> int:
    """Where its field stands on the page."""
    return list(LABELS).index(error.field)


def duration(seconds: float) -> str:
    """`40 seconds`, `5 minutes`, `30 days`; rounded up, so that who waits that long has waited enough."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds > 1.5 * size or seconds == size:
            return counted(int(-(-seconds // size)), unit)
    return counted(int(seconds), "second")


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ago(then: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, as one would say it."""
    past = (now or datetime.now(UTC)) - datetime.fromisoformat(then)
    if past < timedelta(minutes=2):
        return "just now"
    size, unit = next(each for each in ((86400, "day"), (3600, "hour"), (60, "minute")) if past.total_seconds() >= each[0])
    return f"{counted(int(past.total_seconds() // size), unit)} ago"


def moment(then: str) -> str:
    """An RFC 3339 time for people. A script may say it in their own time zone."""
    when = datetime.fromisoformat(then)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


@lru_cache(maxsize=1024)
def device_name(user_agent: str) -> str:
    """`Firefox on Linux`: what a browser says it is, shortened."""
    from ua_parser import parse  # as in sessions/metadata.py, whose start has read its rules

    found = parse(user_agent)
    agent = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    if agent and system:
        return f"{agent} on {system}"
    return agent or system or (f"{user_agent[:40]}…" if len(user_agent) > 40 else user_agent) or "Unknown device"
