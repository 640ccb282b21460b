"""The `stateroom` command. Each subcommand imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import SettingsError, StateroomError

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document.")]

app = typer.Typer(name="stateroom", no_args_is_help=True, pretty_exceptions_enable=False)
users = typer.Typer(no_args_is_help=True, help="Users of the service.")
sessions = typer.Typer(no_args_is_help=True, help="Sessions of the service's users.")
database = typer.Typer(no_args_is_help=True, help="The user database.")
app.add_typer(users, name="users")
app.add_typer(sessions, name="sessions")
app.add_typer(database, name="db")


def main() -> None:
    """Run the command line. Exit 2 for an invalid setting and 1 for any other error, with one line on stderr."""
    warnings.formatwarning = _one_line
    try:
        app(prog_name="stateroom")  # as `python -m stateroom` too: scripts for completion have the name in them
    except SettingsError as error:
        _stop(str(error), 2)
    except StateroomError as error:
        _stop(str(error), 1)
    except OSError as error:
        if "--install-completion" not in sys.argv:
            raise
        _stop(f"{error.filename} cannot be written: {error.strerror}; --show-completion prints what belongs there", 1)


def _one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning in the form of an error: its place in the code tells users nothing."""
    return f"stateroom: {message}\n"


def _stop(line: str, status: int) -> NoReturn:
    print(f"stateroom: {line}", file=sys.stderr)
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
    """Session management that stays up when Redis doesn't."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="HOST")] = None,
    port: Annotated[int | None, typer.Option(help="PORT")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port")] = 1,
) -> None:
    """Run the service in the foreground. SIGTERM drains it. SIGHUP makes it read its files again."""
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
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="Names of scenarios, or .py files. The default is all.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write drill.html and drill.json to this folder.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures to this file as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw one scenario to this SVG file, for a README.")] = None,
    peer: Annotated[
        bool | None, typer.Option("--peer/--no-peer", help="Drill aiohttp-session too. The default is to, if it is installed.")
    ] = None,
    compose: Annotated[bool, typer.Option("--compose", help="Drill the running stack of docker-compose.sentinel.yml.")] = False,
    target: Annotated[
        str | None, typer.Option(metavar="URL", help="Drill your own running service. Only manual-failover is played.")
    ] = None,
    sentinels: Annotated[str | None, typer.Option(metavar="HOST:PORT,...", help="The Sentinels of the --target.")] = None,
    master_name: Annotated[str, typer.Option(help="The Sentinels' name for the primary of the --target.")] = "mymaster",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the drill would do, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --target: start without a question.")] = False,
) -> None:
    """Break a Redis with Sentinels and measure what clients notice. Exit 0 only if every scenario passes.

    Starts servers, Sentinels and workers on loopback, and stops them afterwards.
    """
    from . import drilling

    if list_:
        print(drilling.names())
        return
    if (target is None) != (sentinels is None):
        raise SettingsError("--target and --sentinels work only together; give both or neither")
    if compose and target is not None:
        raise SettingsError("--compose and --target name two stacks; give only one of them")
    if picture is not None and (compose or target is not None):
        raise SettingsError("--picture draws a drill that this command starts; leave out --compose and --target")
    results = drilling.Results(report, json, picture)
    if not dry_run:
        results.check()
    given = scenarios or []
    if compose:
        status = drilling.on_containers(given, results, is_dry=dry_run)
    elif target is not None and sentinels is not None:
        status = drilling.on_target(given, target, sentinels, master_name, results, is_dry=dry_run, is_sure=yes)
    else:
        status = drilling.on_this_machine(given, results, peer=peer, is_dry=dry_run)
    raise typer.Exit(status)


@app.command()
def doctor(
    as_json: AsJson = False,
    admin: Annotated[str | None, typer.Option(help="ACL user of the servers who may run CONFIG GET.")] = None,
    admin_password_file: Annotated[Path | None, typer.Option(help="File with that user's password; by default asked for.")] = None,
) -> None:
    """Examine the stores and report what would go wrong in a failover. Exit 1 on a fault. Changes nothing."""
    from .doctor import run

    raise typer.Exit(0 if run(as_json=as_json, admin=admin, password_file=admin_password_file) else 1)


@app.command()
def keys(jwt: Annotated[bool, typer.Option("--jwt", help="A private key for JWT_KEYS.")] = False) -> None:
    """Print a new cookie key for COOKIE_KEYS."""
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
    """Ask /livez: exit 0 if the service answers, 1 if not."""
    from .health import is_alive

    raise typer.Exit(0 if is_alive() else 1)


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """Print all users: id, email, name, state."""
    from .admin import list_users, run

    run(list_users, as_json=as_json)


@users.command()
def disable(email: str, as_json: AsJson = False) -> None:
    """Disable an account and end all its sessions."""
    from .admin import disable_user, run

    run(lambda service: disable_user(service, email), as_json=as_json)


@users.command()
def enable(email: str, as_json: AsJson = False) -> None:
    """Enable an account again."""
    from .admin import enable_user, run

    run(lambda service: enable_user(service, email), as_json=as_json)


@users.command()
def export(email: str, as_json: AsJson = False) -> None:
    """Print all data about a user, as JSON."""
    from .admin import run
    from .privacy import export_user

    run(lambda service: export_user(service, email), as_json=as_json)


@users.command()
def erase(email: str, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False, as_json: AsJson = False) -> None:
    """End a user's sessions for good, and delete the account and all data that names the user."""
    from .admin import run
    from .privacy import erase_user

    if not yes:
        typer.confirm(f"Delete the account {email} and end all its sessions? This cannot be undone.", abort=True)
    run(lambda service: erase_user(service, email), as_json=as_json)


@sessions.command("list")
def list_sessions(
    user: Annotated[str | None, typer.Option(help="Email of one user.")] = None,
    all_users: Annotated[bool, typer.Option("--all", help="Every user.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the live sessions."""
    from .admin import list_sessions, run

    _check_choice(user, all_users=all_users)
    run(lambda service: list_sessions(service, user), as_json=as_json)


@sessions.command()
def revoke(
    user: Annotated[str | None, typer.Option(help="Email of one user.")] = None,
    all_users: Annotated[bool, typer.Option("--all", help="Everybody's, in one step.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End sessions for good."""
    from .admin import existing_stores, revoke_everybody, revoke_sessions, run

    _check_choice(user, all_users=all_users)
    if user is not None:
        run(lambda service: revoke_sessions(service, user), as_json=as_json)
        return
    if not yes:
        stores = existing_stores()
        typer.confirm(f"{stores}\nSign everybody out, on every device? This cannot be undone.", abort=True)
    run(revoke_everybody, as_json=as_json)


@database.command()
def upgrade() -> None:
    """Upgrade the user database to the current schema."""
    from .admin import upgrade_database

    upgrade_database()


@database.command()
def lease(seconds: Annotated[float, typer.Argument(help="The new JOURNAL_LEASE of every worker.")]) -> None:
    """Change the deployment's lease. Stop every worker first."""
    from .admin import set_lease

    set_lease(seconds)


@database.command()
def adopt(
    new_identity: Annotated[
        bool, typer.Option("--new-identity", help="Make a copied database a deployment of its own first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Take over a Redis that belongs to another user database, and end every session in it. Stop every worker first."""
    from .admin import adopt, store_and_database

    stores = store_and_database()
    if not yes:
        typer.confirm(
            f"{stores}\nTake this store over for this database, and end every session in it? This cannot be undone.", abort=True
        )
    adopt(has_new_identity=new_identity)


def _check_choice(user: str | None, *, all_users: bool) -> None:
    """Check the options before anything is connected. A forgotten option must not revoke the sessions of all users."""
    if (user is None) != all_users:
        raise SettingsError("name one user with --user EMAIL, or give --all")
