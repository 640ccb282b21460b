"""The `stateroom` command: its list of subcommands, and how a failure of any of them is printed."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import SettingsError, StateroomError
from .commands.access import access
from .commands.database import database
from .commands.drill import drill
from .commands.sentinels import sentinels
from .commands.service import doctor, healthcheck, keys, openapi, serve
from .commands.sessions import sessions
from .commands.users import users

app = typer.Typer(name="stateroom", no_args_is_help=True, pretty_exceptions_enable=False)
# `--help` lists the subcommands in this order.
app.command()(serve)
app.command()(drill)
app.command()(doctor)
app.command()(keys)
app.command()(openapi)
app.command()(healthcheck)
app.add_typer(users, name="users")
app.add_typer(sessions, name="sessions")
app.add_typer(access, name="access")
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
