"""The subcommands of `stateroom users`: an administrator lists and changes accounts."""

from __future__ import annotations

import typer

from .arguments import AsJson, RequiredEmail, UserOption, Yes, confirm, one_user

users = typer.Typer(no_args_is_help=True, help="List, disable, enable, export or erase users.")


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """Print all users: id, email, name, state.

    The first line is a header. For scripts, use --json.
    """
    from ..admin import list_users, run

    run(list_users, as_json=as_json)


@users.command()
def disable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Disable an account and end all its sessions."""
    from ..admin import disable_user, run

    address = one_user(email, user)
    run(lambda service: disable_user(service, address), as_json=as_json)


@users.command()
def enable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Enable an account again. Its sessions stay ended."""
    from ..admin import enable_user, run

    address = one_user(email, user)
    run(lambda service: enable_user(service, address), as_json=as_json)


@users.command()
def export(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Print all data about a user as JSON."""
    from ..admin import run
    from ..privacy import export_user

    address = one_user(email, user)
    run(lambda service: export_user(service, address), as_json=as_json)


@users.command()
def erase(email: RequiredEmail = None, user: UserOption = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a user: all sessions, the account, and all data that identifies the user. This cannot be undone."""
    from ..admin import run
    from ..privacy import erase_user

    address = one_user(email, user)
    if not yes:
        confirm(f"This cannot be undone. Delete the account {address} and end all its sessions?")
    run(lambda service: erase_user(service, address), as_json=as_json)
