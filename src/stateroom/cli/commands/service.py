"""The subcommands that run the service, check it, or print what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import AsJson


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
    from ...private import hide_new_files
    from ...serving import process, supervisor
    from ...settings import Settings

    hide_new_files()

    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    settings = Settings.for_service(**given)
    if workers == 1:
        process.run(settings)
    else:
        supervisor.run(settings, workers)


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
    from ..doctor import run

    raise typer.Exit(0 if run(as_json=as_json, admin=admin, password_file=admin_password_file) else 1)


def keys(
    jwt: Annotated[bool, typer.Option("--jwt", help="Print a new private key for the setting JWT_KEYS instead.")] = False,
) -> None:
    """Print a new key for the setting COOKIE_KEYS. The service encrypts cookies with it."""
    from ...sessions.sealing.key_ring import new_key
    from ...sessions.sealing.token_keys import new_token_key

    print(new_token_key() if jwt else new_key())


def openapi() -> None:
    """Print the OpenAPI document of the service."""
    import json

    from ...api.openapi import document
    from ...app import api_routes
    from ...settings import Settings

    print(json.dumps(document(api_routes(), Settings.load()), indent=2, ensure_ascii=False))


def healthcheck() -> None:
    """Send a request to /livez of the service at HOST and PORT. Exit status 0: it is alive. 1: it is not."""
    from ..health import is_alive

    raise typer.Exit(0 if is_alive() else 1)
