"""The subcommands of `stateroom sessions`: an administrator lists and ends sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import AsJson, Email, UserOption, confirm, one_or_all

sessions = typer.Typer(no_args_is_help=True, help="List or end the sessions of users.")


@sessions.command("list")
def list_sessions(
    email: Email = None,
    user: UserOption = None,
    all_users: Annotated[bool, typer.Option("--all", help="List the sessions of all users.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the live sessions of one user (EMAIL) or of all users (--all): email, id, last access, address, device.

    The first line is a header. For scripts, use --json.
    """
    from ..admin import list_sessions
    from ..service import run

    address = one_or_all(email, user, all_users=all_users)
    run(lambda service: list_sessions(service, address), as_json=as_json)


@sessions.command()
def revoke(
    email: Email = None,
    user: UserOption = None,
    all_users: Annotated[bool, typer.Option("--all", help="End the sessions of all users at once.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign out one user (EMAIL) or all users (--all) on every device. This cannot be undone."""
    from ..admin import revoke_everybody, revoke_sessions
    from ..service import existing_stores, run

    address = one_or_all(email, user, all_users=all_users)
    if address is not None:
        run(lambda service: revoke_sessions(service, address), as_json=as_json)
        return
    if not yes:
        stores = existing_stores()
        confirm(f"{stores}\nThis cannot be undone. Sign out all users on every device?")
    run(revoke_everybody, as_json=as_json)
