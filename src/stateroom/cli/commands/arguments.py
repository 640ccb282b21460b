"""Arguments and options of more than one subcommand, the check that they name one user or all of them, and the confirmation."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ...errors import SettingsError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as a JSON document.")]
Email = Annotated[str | None, typer.Argument(metavar="EMAIL", show_default=False, help="The user's email address.")]
RequiredEmail = Annotated[
    str | None,
    typer.Argument(metavar="EMAIL", show_default=False, help="The user's email address. Required without --user."),
]
UserOption = Annotated[str | None, typer.Option("--user", metavar="EMAIL", show_default=False, help="Another way to give EMAIL.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def one_user(email: str | None, user: str | None) -> str:
    """The email address, which may be given as EMAIL or with --user. Raises `SettingsError` if both or neither is given."""
    address = _at_most_one(email, user)
    if address is None:
        raise SettingsError("no user is named; give the user's email address, for example ada@example.com")
    return address


def one_or_all(email: str | None, user: str | None, *, all_users: bool) -> str | None:
    """The email address, or None for all users.

    Raises `SettingsError` if neither is given, so that a forgotten address does not end the sessions of all users.
    """
    address = _at_most_one(email, user)
    if address is None and not all_users:
        raise SettingsError("no user is named; give a user's email address, or --all for all users")
    if address is not None and all_users:
        raise SettingsError(f"both {address} and --all are given; give only one of them")
    return address


def confirm(question: str) -> None:
    """Ask for a confirmation. Raises `typer.Abort` if it is refused, and `SettingsError` if nobody can answer."""
    try:
        is_confirmed = typer.confirm(question)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        print()  # ends the line of the question
        raise SettingsError("nobody can confirm this, because there is no terminal; run the command with --yes") from None
    if not is_confirmed:
        raise typer.Abort


def _at_most_one(email: str | None, user: str | None) -> str | None:
    if email is not None and user is not None:
        raise SettingsError(f"the user is named twice, as {email} and with --user {user}; give the address once")
    return user if email is None else email
