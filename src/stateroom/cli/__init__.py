"""The `stateroom` command. Each subcommand imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import SettingsError, StateroomError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as a JSON document.")]
Email = Annotated[str | None, typer.Argument(metavar="EMAIL", show_default=False, help="The user's email address.")]
RequiredEmail = Annotated[
    str | None,
    typer.Argument(metavar="EMAIL", show_default=False, help="The user's email address. Required without --user."),
]
UserOption = Annotated[str | None, typer.Option("--user", metavar="EMAIL", show_default=False, help="Another way to give EMAIL.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

app = typer.Typer(name="stateroom", no_args_is_help=True, pretty_exceptions_enable=False)
users = typer.Typer(no_args_is_help=True, help="List, disable, enable, export or erase users.")
sessions = typer.Typer(no_args_is_help=True, help="List or end the sessions of users.")
database = typer.Typer(no_args_is_help=True, help="Upgrade the user database, or change how it and Redis belong together.")
sentinels = typer.Typer(no_args_is_help=True, help="Accept Sentinels that were rebuilt.")
app.add_typer(users, name="users")
app.add_typer(sessions, name="sessions")
app.add_typer(database, name="db")
app.add_typer(sentinels, name="sentinels")


def main() -> None:
    """Run the command line.

    An invalid setting or argument makes the exit status 2, any other error 1. Either prints its reason on stderr in one line, the
    last one. Lines of the message before it say what was found.
    """
    warnings.formatwarning = _one_line
    try:
        app(prog_name="stateroom")  # also as `python -m stateroom`: completion scripts contain this name
    except SettingsError as error:
        _stop(str(error), 2)
    except StateroomError as error:
        _stop(str(error), 1)
    except OSError as error:
        if "--install-completion" not in sys.argv:
            raise
        fix = "write the output of `stateroom --show-completion` to a file that your shell reads"
        _stop(f"{error.filename} cannot be written: {error.strerror}; {fix}", 1)


def _one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """Format a warning like an error message. Users do not need its place in the code."""
    return f"stateroom: {message}\n"


def _stop(message: str, status: int) -> NoReturn:
    found, line_break, reason = message.rpartition("\n")
    print(f"{found}{line_break}stateroom: {reason}", file=sys.stderr)
    sys.exit(status)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"stateroom {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sign-in and sessions for your application. They keep working while Redis is unavailable."""


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on. Default: the setting HOST, or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Port to listen on. Default: the setting PORT, or 8080.")
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Number of worker processes on this port, for example one per CPU core.")
    ] = 1,
) -> None:
    """Run the service in the foreground.

    SIGTERM stops it after the requests in progress are finished.
    SIGHUP makes it read its files of keys, passwords and certificates again.
    """
    from ..private import hide_new_files
    from ..serving import process, supervisor
    from ..settings import Settings

    hide_new_files()

    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    settings = Settings.for_service(**given)
    if workers == 1:
        process.run(settings)
    else:
        supervisor.run(settings, workers)


@app.command()
def drill(  # noqa: PLR0917 (options have names)
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="Names of scenarios, or .py files. Default: all scenarios.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write drill.html and drill.json to this folder.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures to this file as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw one scenario to this SVG file, for a README.")] = None,
    peer: Annotated[
        bool | None,
        typer.Option("--peer/--no-peer", help="Drill aiohttp-session too, to compare. Default: yes, if it is installed."),
    ] = None,
    compose: Annotated[
        bool,
        typer.Option("--compose", help="Drill the running containers of docker-compose.sentinel.yml. It stops some of them."),
    ] = False,
    slowest: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="With --compose: how long a response may take. Default: 2."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Run manual-failover on your running service: its Sentinels promote another server."),
    ] = None,
    sentinels: Annotated[str | None, typer.Option(metavar="HOST:PORT,...", help="The Sentinels of the --target.")] = None,
    master_name: Annotated[
        str, typer.Option(help="With --target: NAME in `sentinel monitor NAME ...` of the Sentinels.")
    ] = "mymaster",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the drill would do, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --target: start without a question.")] = False,
) -> None:
    """Start a Redis with Sentinels on this machine, break it, and measure what clients notice.

    Your own servers stay untouched, except with --compose or --target. Exit status 0: every scenario passed.
    """
    from . import drilling

    if list_:
        print(drilling.names())
        return
    if (target is None) != (sentinels is None):
        raise SettingsError("--target and --sentinels work only together; give both or neither")
    if compose and target is not None:
        raise SettingsError("--compose and --target cannot be used together; give only one of them")
    if picture is not None and (compose or target is not None):
        raise SettingsError("--picture works only without --compose and --target; leave them out")
    if slowest is not None and not compose:
        raise SettingsError("--slowest works only with --compose; leave it out")
    results = drilling.Results(report, json, picture)
    if not dry_run:
        results.check()
    given = scenarios or []
    if compose:
        status = drilling.on_containers(given, results, is_dry=dry_run, slowest=slowest)
    elif target is not None and sentinels is not None:
        status = drilling.on_target(given, target, sentinels, master_name, results, is_dry=dry_run, is_sure=yes)
    else:
        status = drilling.on_this_machine(given, results, peer=peer, is_dry=dry_run)
    raise typer.Exit(status)


@app.command()
def doctor(
    as_json: AsJson = False,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A Redis user that may run CONFIG GET. Without it, the doctor cannot check some settings of Redis."
        ),
    ] = None,
    admin_password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the password of --admin. Without it, the command asks for the password."),
    ] = None,
) -> None:
    """Check Redis, its Sentinels and the user database, and print what is wrong and how to fix it.

    It changes nothing. Exit status 0: no fault. 1: at least one fault. 2: a setting or an option is invalid.
    """
    from .doctor import run

    raise typer.Exit(0 if run(as_json=as_json, admin=admin, password_file=admin_password_file) else 1)


@app.command()
def keys(
    jwt: Annotated[bool, typer.Option("--jwt", help="Print a new private key for the setting JWT_KEYS instead.")] = False,
) -> None:
    """Print a new key for the setting COOKIE_KEYS. The service encrypts cookies with it."""
    from ..sessions.sealing.key_ring import new_key
    from ..sessions.sealing.token_keys import new_token_key

    print(new_token_key() if jwt else new_key())


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    import json

    from ..api.openapi import document
    from ..app import api_routes
    from ..settings import Settings

    print(json.dumps(document(api_routes(), Settings.load()), indent=2, ensure_ascii=False))


@app.command()
def healthcheck() -> None:
    """Send a request to /livez of the service at HOST and PORT. Exit status 0: it is alive. 1: it is not."""
    from .health import is_alive

    raise typer.Exit(0 if is_alive() else 1)


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """Print all users: id, email, name, state.

    The first line is a header. For scripts, use --json.
    """
    from .admin import list_users, run

    run(list_users, as_json=as_json)


@users.command()
def disable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Disable an account and end all its sessions."""
    from .admin import disable_user, run

    address = _one_user(email, user)
    run(lambda service: disable_user(service, address), as_json=as_json)


@users.command()
def enable(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Enable an account again. Its sessions stay ended."""
    from .admin import enable_user, run

    address = _one_user(email, user)
    run(lambda service: enable_user(service, address), as_json=as_json)


@users.command()
def export(email: RequiredEmail = None, user: UserOption = None, as_json: AsJson = False) -> None:
    """Print all data about a user as JSON."""
    from .admin import run
    from .privacy import export_user

    address = _one_user(email, user)
    run(lambda service: export_user(service, address), as_json=as_json)


@users.command()
def erase(email: RequiredEmail = None, user: UserOption = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a user: all sessions, the account, and all data that identifies the user. This cannot be undone."""
    from .admin import run
    from .privacy import erase_user

    address = _one_user(email, user)
    if not yes:
        typer.confirm(f"This cannot be undone. Delete the account {address} and end all its sessions?", abort=True)
    run(lambda service: erase_user(service, address), as_json=as_json)


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
    from .admin import list_sessions, run

    address = _one_or_all(email, user, all_users=all_users)
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
    from .admin import existing_stores, revoke_everybody, revoke_sessions, run

    address = _one_or_all(email, user, all_users=all_users)
    if address is not None:
        run(lambda service: revoke_sessions(service, address), as_json=as_json)
        return
    if not yes:
        stores = existing_stores()
        typer.confirm(f"{stores}\nThis cannot be undone. Sign out all users on every device?", abort=True)
    run(revoke_everybody, as_json=as_json)


@database.command()
def upgrade() -> None:
    """Bring the tables of the user database to this release."""
    from .admin import upgrade_database

    upgrade_database()


@database.command()
def lease(
    value: Annotated[
        str, typer.Argument(metavar="DURATION", help="The new value of JOURNAL_LEASE: seconds, or a duration such as 500ms.")
    ],
) -> None:
    """Store another JOURNAL_LEASE in the user database.

    All workers must have this value, because they use it to agree on sign-outs. Stop every worker first, and start it with the
    new value afterwards.
    """
    from .admin import set_lease

    set_lease(value)


@database.command()
def adopt(
    new_identity: Annotated[
        bool,
        typer.Option("--new-identity", help="Needed if the user database is a copy of another one: give it a new identity first."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Make Redis belong to this user database, for example after the old user database was lost.

    It ends every session in this Redis. Stop every worker first. This cannot be undone.
    """
    from .admin import adopt, store_and_database

    stores = store_and_database()
    if not yes:
        typer.confirm(
            f"{stores}\nThis cannot be undone. Make this Redis belong to this user database, and end every session in Redis?",
            abort=True,
        )
    adopt(has_new_identity=new_identity)


@sentinels.command("accept")
def accept_sentinels(yes: Yes = False) -> None:
    """Take the Sentinels' present epoch as the new base, after they were rebuilt.

    It prints what each Sentinel says, and asks for confirmation. The workers then trust the primary that the Sentinels name.
    """
    from .sentinels import accept, look

    shown = look()
    for line in shown.lines:
        print(line)
    if not yes:
        typer.confirm(f"Let every worker trust {shown.named.primary} in epoch {shown.named.epoch}?", abort=True)
    accept(shown)
    print(f"accepted: {shown.named.primary} in epoch {shown.named.epoch}; every worker trusts it within two seconds")


def _one_user(email: str | None, user: str | None) -> str:
    """The email address, which may be given as EMAIL or with --user. Raises `SettingsError` if both or neither is given."""
    address = _at_most_one(email, user)
    if address is None:
        raise SettingsError("no user is named; give the user's email address, for example ada@example.com")
    return address


def _one_or_all(email: str | None, user: str | None, *, all_users: bool) -> str | None:
    """The email address, or None for all users.

    Raises `SettingsError` if neither is given, so that a forgotten address does not end the sessions of all users.
    """
    address = _at_most_one(email, user)
    if address is None and not all_users:
        raise SettingsError("no user is named; give a user's email address, or --all for all users")
    if address is not None and all_users:
        raise SettingsError(f"both {address} and --all are given; give only one of them")
    return address


def _at_most_one(email: str | None, user: str | None) -> str | None:
    if email is not None and user is not None:
        raise SettingsError(f"the user is named twice, as {email} and with --user {user}; give the address once")
    return user if email is None else email
