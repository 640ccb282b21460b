"""The sentences on the pages: reasons why a session has ended, errors, durations, names of devices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..accounts.passwords import COMMON
from ..accounts.users import MAX_NAME_LENGTH, NO_EMAIL, NO_NAME
from ..errors import (
    REQUIRED,
    BadInput,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    InvalidCredentials,
    Saturated,
    StateroomError,
    TooManyAttempts,
)
from ..plurals import counted

if TYPE_CHECKING:
    from .. import Settings, cookie_fate

_MISSING = {
    "name": "Enter your name.",
    "email": "Enter your email address.",
    "password": "Enter your password.",
    "current_password": "Enter your current password.",
    "new_password": "Enter your new password.",
}
_SENTENCES = {
    NO_NAME: f"Enter your name on one line, in at most {MAX_NAME_LENGTH} characters.",
    NO_EMAIL: "Enter an email address, for example ada@example.com.",
    COMMON: "This password is too common. Choose another one.",
}
"""The sentences of pages for messages of the accounts."""

LABELS = {
    "name": "Name",
    "email": "Email",
    "password": "Password",
    "current_password": "Current password",
    "new_password": "New password",
}

_REASONS = {
    "expired": "Your session has expired. Please sign in again.",
    "logout": "You're signed out.",
    "revoked": "This device was signed out from another device or by an administrator. Please sign in again.",
    "password": "Your password was changed, so every other device was signed out. Please sign in with the new password.",
    "disabled": "This account is disabled. Please contact the administrator of this service.",
    "rotated": "This session was replaced by a newer one. Please sign in again.",
    "everybody": "Everyone was signed out. Please sign in again.",
    "unknown-user": "We can't find your account any more. Please create it again, or contact the administrator of this service.",
}


class Words(NamedTuple):
    """The title and the text of a page."""

    title: str
    text: str


_UNAVAILABLE = Words("This is temporarily unavailable", "You haven't been signed out, and nothing is lost.")
_PROBLEMS = {
    "session-storage-degraded": _UNAVAILABLE,
    "database-unavailable": _UNAVAILABLE,
    "saturated": Words("Many people are signing in right now", "Please wait a moment."),
    "too-many-attempts": Words("Too many attempts", "This limit keeps accounts safe."),
    "foreign-origin": Words("That came from another site", "Nothing was changed. Open the page here and send the form again."),
    "not-found": Words("We can't find this page", "The address may be mistyped, or the page was removed."),
    "method-not-allowed": Words("That doesn't work here", "Please open the page again and use its buttons."),
    "session-too-large": Words("Your session is full", "Please sign out and sign in again to continue."),
}
_BY_STATUS = {
    413: Words("That was too long", "Please shorten your input and send it again."),
    500: Words(
        "Something went wrong",
        "This is our fault. If it happens again, please tell the administrator of this service the request number below.",
    ),
}
_OTHERS = Words("That didn't work", "We couldn't read your request. Please open the page again and retry.")


def why_signed_out(reason: str, settings: Settings) -> str:
    """One or two sentences that say why a session has ended."""
    if reason == "limit":
        return (
            f"You signed in on another device. {devices_at_once(settings.session_max_per_user)}, "
            "so this device, the oldest one, was signed out."
        )
    return _REASONS.get(reason, _REASONS["expired"])


def why_lost(loss: cookie_fate.Loss) -> str:
    """Why a user is not signed in although the sign-in succeeded, and what to do."""
    because = {
        "http": "keeps our cookie only over https, and this page uses plain http",
        "domain": "refused our cookie because the cookie is for another domain",
        "doubled": "sent several cookies with our name",
        "other-host": f"does not send our cookie to {loss.host}",
        "unknown": "did not send our cookie back",
    }[loss.cause]
    return f"You signed in, but your browser {because}. For the administrator of this service: {loss.fix}."


def devices_at_once(limit: int) -> str:
    """The clause about `SESSION_MAX_PER_USER`. If this host has no limit, another host has one, and the clause names no number."""
    return f"You can be signed in on {counted(limit, 'device')} at once" if limit else "The number of devices is limited"


def of_problem(slug: str, status: int) -> Words:
    """The title and text of the page for a problem."""
    return _PROBLEMS.get(slug) or _BY_STATUS.get(status) or _OTHERS


def of_form(error: StateroomError, *, is_signed_in: bool = False) -> list[FieldError]:
    """The errors of a form, by field. The field is empty if the error concerns no field.

    `is_signed_in`: the form is for a signed-in user and asks for the current password.
    """
    match error:
        case BadInput(errors=errors) if errors:
            return [FieldError(each.field, _of_field(each)) for each in sorted(errors, key=_place)]
        case InvalidCredentials() if is_signed_in:
            return [FieldError("current_password", "The current password is incorrect.")]
        case InvalidCredentials():
            return [FieldError("password", "The email address or the password is incorrect.")]
        case Conflict() if is_signed_in:
            return [FieldError("", "Your password was changed a moment ago, in another window or on another device.")]
        case Conflict():
            return [FieldError("email", "An account with this email address already exists. Sign in, or use another address.")]
        case TooManyAttempts(retry_after=seconds):
            return [FieldError("", f"Too many attempts. Try again in {duration(seconds)}.")]
        case Saturated(retry_after=seconds):
            return [FieldError("", f"Many people are signing in right now. Try again in {duration(seconds)}.")]
        case DatabaseUnavailable():
            return [FieldError("", "Accounts are temporarily unavailable. Nothing was changed. Please try again in a moment.")]
    words = of_problem(error.slug, error.status)
    return [FieldError("", f"{words.title}. {words.text}")]


def _of_field(error: FieldError) -> str:
    """The sentence about one field."""
    if error.message == REQUIRED:
        return _MISSING[error.field]
    return _SENTENCES.get(error.message) or f"{LABELS[error.field]} {error.message}."


def _place(error: FieldError) -> int:
    """The position of the error's field on the page."""
    return list(LABELS).index(error.field)


def duration(seconds: float) -> str:
    """A duration as `40 seconds`, `5 minutes` or `30 days`. It is rounded up, because a retry before the time would fail."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds > 1.5 * size or seconds == size:
            return counted(int(-(-seconds // size)), unit)
    return counted(int(seconds), "second")


def ago(then: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, for example `5 minutes ago`."""
    past = (now or datetime.now(UTC)) - datetime.fromisoformat(then)
    if past < timedelta(minutes=2):
        return "just now"
    size, unit = next(each for each in ((86400, "day"), (3600, "hour"), (60, "minute")) if past.total_seconds() >= each[0])
    return f"{counted(int(past.total_seconds() // size), unit)} ago"


def moment(then: str) -> str:
    """An RFC 3339 time in a readable form, in UTC. The page's script replaces it by the browser's time zone."""
    when = datetime.fromisoformat(then)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


@lru_cache(maxsize=1024)
def device_name(user_agent: str) -> str:
    """A short name for a device, for example `Firefox on Linux`, from the browser's user agent."""
    from ua_parser import parse  # its rules were read at startup already, by request/client_info.py

    found = parse(user_agent)
    agent = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    if agent and system:
        return f"{agent} on {system}"
    return agent or system or (f"{user_agent[:40]}…" if len(user_agent) > 40 else user_agent) or "Unknown device"
