"""The sentences about mailed links: pages for links that do not work, and messages after the steps."""

from __future__ import annotations

from .words import Words

CLOSED = Words(
    "We don't take new accounts here", "The administrator of this service creates the accounts. If you need one, please ask there."
)
BY_INVITATION = Words(
    "You need an invitation",
    "New accounts here are by invitation. If you have one, open the link in its mail. If not, please ask the administrator of this "
    "service.",
)
INVITATION_INVALID = Words(
    "This invitation doesn't work any more",
    "It was used already, or it is too old. If you have an account, sign in. If not, ask the person who invited you for a new "
    "invitation.",
)
SIGNED_IN_ALREADY = Words(
    "You're signed in already",
    "An invitation is for a new account. To create it, sign out first, then open the link in the mail again.",
)
RESET_INVALID = Words(
    "This link doesn't work any more",
    "It was used already, it is too old, or there is a newer mail. Your password was not changed. Ask for a new mail, and use the "
    "link in it.",
)
CONFIRMATION_INVALID = Words(
    "This link doesn't work any more",
    "It was used already, it is too old, or there is a newer mail. Nothing was changed. Sign in to ask for a new mail.",
)
ADDRESS_TAKEN = Words(
    "Another account has this address", "It got the address before you confirmed it. Your account keeps the address that it had."
)
NO_RESET_BY_MAIL = Words(
    "We can't send you a mail", "This service sends no mails. Please ask its administrator to set a new password for you."
)
NOT_THIS_ACCOUNT = (
    "This link doesn't work for the account to which you're signed in. If it is for another account, enter that account's password."
)
INVITED_TWICE = "You already have an account with this email address. Sign in to use it."
MAIL_SENT_AGAIN = "We've sent the mail again. Use the link in the newest one."
CONFIRMED = "Your email address is confirmed."
OTHER_CONFIRMED = "The email address of the other account is confirmed. You're still signed in to this one."
OTHER_PASSWORD_SET = "The password of the other account was changed. You're still signed in to this one."  # noqa: S105
_DONE = {
    "reset": "Your password was changed. Sign in with the new one.",
    "confirmed": "Your email address is confirmed. You can sign in.",
}
"""What the sign-in page says after a step that ends there."""


def of_done(step: str) -> str:
    """What the sign-in page says after a step; empty if there is no such step."""
    return _DONE.get(step, "")


def mail_sent(address: str) -> str:
    """The message after somebody signed-in asked for a mail. `address`: where it goes."""
    return f"We've sent a mail to {address}. Open the link in it to confirm the address."
