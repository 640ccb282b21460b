"""The sentences on the pages: reasons why a session has ended, errors, durations, names of devices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..accounts.chosen import MAX_NAME_LENGTH, NO_EMAIL, NO_NAME
from ..accounts.passwords import COMMON
from ..accounts.proofs import SAME
from ..accounts.registration import INVITED
from ..accounts.users import TAKEN
from ..errors import (
    REQUIRED,
    BadInput,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    InvalidCredentials,
    NotFound,
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
    SAME: "This is your email address already. Enter the new one.",
    INVITED: "Enter the email address to which the invitation was sent.",
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
    "expired": "You were signed out after some time. Please sign in again.",
    "logout": "You're signed out.",
    "revoked": "This device was signed out: by you on another device, or by an administrator. Please sign in again.",
    "password": "Your password was changed, so every other device was signed out. Please sign in with the new password.",
    "disabled": "This account is disabled. Please contact the administrator of this service.",
    "rotated": "This page used an old sign-in. Please sign in again.",
    "everybody": "The administrator of this service signed out all users. Please sign in again.",
    "unknown-user": "We can't find your account any more. Please create it again, or contact the administrator of this service.",
}


class Words(NamedTuple):
    """The title and the text of a page."""

    title: str
    text: str


NO_MAIL = "This service sends no mails. Please ask its administrator to change this for you."

_UNAVAILABLE = Words(
    "This page is temporarily unavailable", "If you were signed in, you still are. Nothing is lost. Please try again in a moment."
)
_PROBLEMS = {
    "session-storage-degraded": _UNAVAILABLE,
    "database-unavailable": _UNAVAILABLE,
    "saturated": Words("Many people are signing in right now", "Please wait a moment, then try again."),
    "too-many-attempts": Words(
        "Too many attempts", "To keep accounts safe, we limit how often you can try. Please wait before you try again."
    ),
    "foreign-origin": Words(
        "We can't accept this form",
        "It was sent from another site. Nothing was changed. Open the page here and send the form again.",
    ),
    "not-found": Words("We can't find this page", "The address may be mistyped, or the page was removed."),
    "method-not-allowed": Words("You can't open this address like this", "Please go to your account and try again from there."),
    "session-too-large": Words(
        "We can't save any more for this sign-in", "Please sign out, sign in again, and repeat your last step."
    ),
}
_BY_STATUS = {
    413: Words("What you sent is too long", "Please shorten your input and send it again."),
    500: Words(
        "Something went wrong",
        "This is our fault. If it happens again, please tell the administrator of this service the request number below.",
    ),
}
_OTHERS = Words("That didn't work", "Nothing was changed. Please open the page again and retry.")


def why_signed_out(reason: str, settings: Settings) -> str:
    """One or two sentences that say why a session has ended."""
    if reason == "limit":
        return (
            f"You signed in on another device. {devices_at_once(settings.session_max_per_user)}, "
            "so we signed you out on this device, where you had signed in first."
        )
    return _REASONS.get(reason, _REASONS["expired"])


def why_lost(loss: cookie_fate.Loss) -> str:
    """Why a user is not signed in although the sign-in succeeded, and what the user can do."""
    because = {
        "http": "your browser keeps the sign-in only on secure pages. Open the https address of this site and sign in there.",
        "domain": "your browser did not accept the sign-in, because this site is set up for another address.",
        "doubled": "your browser has several old sign-ins of this site. Delete the cookies of this site, then sign in again.",
        "other-host": f"{loss.host} can't see that.",
        "circle": "the page that you want to open doesn't see that.",
        "path": "the page that you want to open can't see that.",
        "unknown": "your browser did not keep the sign-in. Allow cookies for this site, then try again.",
    }[loss.cause]
    return f"You signed in, but {because}"


def devices_at_once(limit: int) -> str:
    """The clause about `SESSION_MAX_PER_USER`. If this host has no limit, another host has one, and the clause names no number."""
    return (
        f"You can be signed in on {counted(limit, 'device')} at the same time"
        if limit
        else "You can be signed in on only a few devices at the same time"
    )


def of_problem(slug: str, status: int) -> Words:
    """The title and text of the page for a problem."""
    return _PROBLEMS.get(slug) or _BY_STATUS.get(status) or _OTHERS


def of_mail_request(error: StateroomError) -> list[FieldError]:
    """The errors of a form that does nothing but ask for a mail."""
    if isinstance(error, TooManyAttempts):
        wait = duration(error.retry_after)
        text = f"You've asked for several mails already. Please look into your spam folder too, or try again in {wait}."
        return [FieldError("", text)]
    return of_form(error)


def of_form(error: StateroomError, *, current: str = "") -> list[FieldError]:
    """The errors of a form, by field. The field is empty if the error concerns no field.

    `current`: the field for the password of an account that the form does not ask for. Empty if it asks for email and password.
    """
    match error:
        case BadInput(errors=errors) if errors:
            return [FieldError(each.field, _of_field(each)) for each in sorted(errors, key=_place)]
        case InvalidCredentials() if current:
            return [FieldError(current, f"The {LABELS[current].lower()} is incorrect.")]
        case InvalidCredentials():
            return [FieldError("password", "The email address or the password is incorrect.")]
        case Conflict(detail=detail) if current and detail == TAKEN:
            return [FieldError("email", "Another account has this email address. Enter another one.")]
        case Conflict() if current:
            return [
                FieldError(
                    "",
                    "Your password was changed a moment ago, on another page or device. Use the new one to change it again.",
                )
            ]
        case Conflict():
            return [FieldError("email", "An account with this email address already exists. Sign in, or use another address.")]
        case TooManyAttempts(retry_after=seconds):
            return [FieldError("", f"Too many attempts. Try again in {duration(seconds)}.")]
        case Saturated(retry_after=seconds):
            return [FieldError("", f"Many people are signing in right now. Try again in {duration(seconds)}.")]
        case NotFound():
            return [FieldError("", NO_MAIL)]
        case DatabaseUnavailable():
            return [FieldError("", "We can't do this right now. Nothing was changed. Please try again in a moment.")]
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
