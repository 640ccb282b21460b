"""The subcommands of `stateroom db`: they change the tables of the user database, or its deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import Yes, confirm

database = typer.Typer(no_args_is_help=True, help="Upgrade the user database, or change how it and Redis belong together.")


@database.command()
def upgrade() -> None:
    """Bring the tables of the user database to this release."""
    from ..database import upgrade_database

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
    from ..database import set_lease

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
    from ..database import adopt, store_and_database

    stores = store_and_database()
    if not yes:
        confirm(f"{stores}\nThis cannot be undone. Make this Redis belong to this user database, and end every session in Redis?")
    adopt(has_new_identity=new_identity)
