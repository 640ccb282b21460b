"""What users choose about themselves: an address and a name. Their rules, and the form in which addresses are compared."""

from __future__ import annotations

import re
import unicodedata

from ..errors import REQUIRED, FieldError

MAX_EMAIL_LENGTH = 254
MAX_NAME_LENGTH = 200

NO_EMAIL = "must be an email address, for example ada@example.com"
NO_NAME = f"must have 1 to {MAX_NAME_LENGTH} printable characters"

# What browsers accept in <input type=email>: https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
EMAIL_PATTERN = (
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)


def typed_email(email: str) -> str:
    """An email as its owner typed it, without spaces around it and in one Unicode form (NFKC: a full-width @ is an @)."""
    return unicodedata.normalize("NFKC", email).strip()


def normal_email(email: str) -> str:
    """An email in the form in which addresses are compared."""
    return typed_email(email).lower()


def email_errors(email: str) -> list[FieldError]:
    """The errors of an email; none if it is valid."""
    typed = typed_email(email[: MAX_EMAIL_LENGTH + 1])
    if not typed:
        return [FieldError("email", REQUIRED)]
    if len(email) > MAX_EMAIL_LENGTH or len(typed) > MAX_EMAIL_LENGTH or not re.fullmatch(EMAIL_PATTERN, typed):
        return [FieldError("email", NO_EMAIL)]
    return []


def name_errors(name: str) -> list[FieldError]:
    """The errors of a name; none if it is valid."""
    if not name.strip():
        return [FieldError("name", REQUIRED)]
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        return [FieldError("name", NO_NAME)]
    return []
