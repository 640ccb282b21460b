"""Numbers in messages: the noun is singular or plural as the number requires."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str = "") -> str:
    """A number and its noun, such as `1 session` or `2 sessions`. `plural`: by default `singular` with an s."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
