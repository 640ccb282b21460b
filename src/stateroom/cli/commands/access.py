"""The subcommand of `stateroom access`: it explains the access rules."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import AsJson

access = typer.Typer(no_args_is_help=True, help="Explain who may enter which application by forward auth.")


@access.command()
def check(
    url: Annotated[str, typer.Option("--url", metavar="URL", show_default=False, help="The page as the browser has it.")],
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="EMAIL", show_default=False, help="Who asks. Without it, an anonymous visitor asks."),
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="The method of the request.")] = "GET",
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="IP", show_default=False, help="The client's address, for rules with networks."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print which access rule decides about a request, why the rules before it do not, and whether the user is admitted.

    Exit status 0: admitted. 1: not admitted, or the user is unknown. 2: a setting, the rules or an option is invalid.
    """
    from ..access import check

    raise typer.Exit(0 if check(url, user=user, method=method, address=address, as_json=as_json) else 1)
