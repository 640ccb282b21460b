"""The sentences of pages that refuse a visit to another application."""

from __future__ import annotations

from .words import Words, of_problem

DENIED = Words(
    "You have no access", "Your account can't open this page. If you need it, please ask the administrator of this service."
)
CLOSED = Words(
    "This page is closed",
    "Nobody can open it through this sign-in yet. If you need it, please ask the administrator of this service.",
)
NOT_SENT = Words(
    "Your form was not sent",
    "You're not signed in, so nothing was changed. If you need what you typed, go back in your browser and copy it. Then sign in, "
    "and send the form again.",
)
NOT_CONFIRMED = Words(
    "Your form was not sent",
    "First we need your password again. Nothing was changed. If you need what you typed, go back in your browser and copy it. Then "
    "enter your password, and send the form again.",
)
NOT_NOW = Words(
    "Your form was not sent",
    "We can't check your sign-in right now, so nothing was changed. If you were signed in, you still are. Please go back in your "
    "browser, and send the form again in a moment.",
)
ADDRESS_FIRST = Words(
    "Confirm your email address first", "We've sent you a mail with a link. Open it, then come back to this page."
)
SIGNED_OUT = Words("You're not signed in", "Please sign in to open this page.")
CONFIRM = Words("Enter your password again", "This page asks for a recent sign-in. Please enter your password to open it.")


def of_refusal(slug: str, status: int, *, is_form: bool, is_signed_in: bool) -> Words:
    """The title and text of the page for a problem of forward auth. `is_form`: the browser sent a form to the application."""
    match slug:
        case "access-denied":
            return DENIED if is_signed_in else CLOSED
        case "sign-in-required" | "session-ended":
            return NOT_SENT if is_form else SIGNED_OUT
        case "reauthentication-required":
            return NOT_CONFIRMED if is_form else CONFIRM
        case "verification-required":
            return ADDRESS_FIRST
    return NOT_NOW if is_form and status == 503 else of_problem(slug, status)
