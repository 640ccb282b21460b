"""The subcommands of `stateroom users`: an administrator lists and changes accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import SettingsError
from .arguments import AsJson, RequiredEmail, UserOption, Yes, confirm, one_user

users = typer.Typer(no_args_is_help=True, help="List, add, invite, change, disable, export or erase users.")

GroupsOption = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="GROUP", show_default=False, help="A group of the new account. Can be given several times."),
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
PrintLink = Annotated[bool, typer.Option("--print", help="Print the link instead of mailing it, to hand it over yourself.")]


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """Print all users: id, email, name, state, whether the address is verified, groups.

    The first line is a header. For scripts, use --json.
    """
    from ..admin import list_users
    from ..service import run

    run(list_users, as_json=as_json)


@users.command()
def add(
    email: RequiredEmail = None,
    user: UserOption = None,
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", show_default=False, help="The user's name.")] = "",
    group: GroupsOption = None,
    password_stdin: PasswordStdin = False,
    print_link: PrintLink = False,
    as_json: AsJson = False,
) -> None:
    """Make an account. Its address counts as verified.

    Without --password-stdin nobody knows the password: the service mails a link with which the user sets one. If the service
    sends no mails, or with --print, the link is printed.
    """
    from ..accounts import add_user
    from ..service import run

    address = one_user(email, user)
    if not name:
        raise SettingsError("the account needs a name; give it with --name")
    password = _password(password_stdin=password_stdin, print_link=print_link)
    groups = group or []
    run(
        lambda service: add_user(service, address, name=name, groups=groups, password=password, is_printed=print_link),
        as_json=as_json,
    )


@users.command()
def invite(
    email: RequiredEmail = None,
    user: UserOption = None,
    group: GroupsOption = None,
    print_link: PrintLink = False,
    as_json: AsJson = False,
) -> None:
    """Invite somebody to make an account with this address. Former invitations of the address end.

    If the service sends no mails, or with --print, the invitation's link is printed.
    """
    from ..accounts import invite
    from ..service import run

    address = one_user(email, user)
    groups = group or []
    run(lambda service: invite(service, address, groups=groups, is_printed=print_link), as_json=as_json)


@users.command()
def set_password(
    email: RequiredEmail = None,
    user: UserOption = None,
    password_stdin: PasswordStdin = False,
    print_link: PrintLink = False,
    as_json: AsJson = False,
) -> None:
    """Mail a link with which the user sets a new password, or set it at once (--password-stdin).

    If the service sends no mails, or with --print, the link is printed. The old password works until the user sets a new one.
    A new password ends all sessions of the user.
    """
    from ..accounts import make_reset_link, set_password
    from ..service import run

    address = one_user(email, user)
    password = _password(password_stdin=password_stdin, print_link=print_link)
    if password is None:
        run(lambda service: make_reset_link(service, address, is_printed=print_link), as_json=as_json)
    else:
        run(lambda service: set_password(service, address, password), as_json=as_json)


@users.command()
def groups(
    email: RequiredEmail = None,
    user: UserOption = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="GROUP", show_default=False, help="Put the user into a group. Can be given several times."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="GROUP", show_default=False, help="Take the user out of a group. Can be given several times."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the groups of a user, one a line. Change them before with --add and --remove."""
    from ..accounts import groups_of
    from ..service import run

    address = one_user(email, user)
    run(lambda service: groups_of(service, address, add=add or [], remove=remove or []), as_json=as_json)


@users.command()
def disable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Disable an account and end all its sessions."""
    from ..admin import disable_user
    from ..service import run

    address = one_user(email, user)
    run(lambda service: disable_user(service, address), as_json=as_json)


@users.command()
def enable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Enable an account again. Its sessions stay ended."""
    from ..admin import enable_user
    from ..service import run

    address = one_user(email, user)
    run(lambda service: enable_user(service, address), as_json=as_json)


@users.command()
def export(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Print all data about a user as JSON."""
    from ..privacy import export_user
    from ..service import run

    address = one_user(email, user)
    run(lambda service: export_user(service, address), as_json=as_json)


@users.command()
def erase(email: RequiredEmail = None, user: UserOption = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a user: all sessions, the account, and all data that identifies the user. This cannot be undone."""
    from ..privacy import erase_user
    from ..service import run

    address = one_user(email, user)
    if not yes:
        confirm(f"This cannot be undone. Delete the account {address} and end all its sessions?")
    run(lambda service: erase_user(service, address), as_json=as_json)


def _password(*, password_stdin: bool, print_link: bool) -> str | None:
    """The password from standard input, or None. Raises `SettingsError`."""
    if not password_stdin:
        return None
    if print_link:
        raise SettingsError("--password-stdin and --print are both given, but with a password there is no link; give one of them")
    from .passwords import password_from_stdin

    return password_from_stdin()
