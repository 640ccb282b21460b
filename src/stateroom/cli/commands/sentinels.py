"""The subcommand of `stateroom sentinels`: an administrator accepts Sentinels that were rebuilt."""

from __future__ import annotations

import typer

from .arguments import Yes, confirm

sentinels = typer.Typer(no_args_is_help=True, help="Accept Sentinels that were rebuilt.")


@sentinels.command("accept")
def accept_sentinels(yes: Yes = False) -> None:
    """Take the Sentinels' present epoch as the new base, after they were rebuilt.

    It prints what each Sentinel says, and asks for confirmation. The workers then trust the primary that the Sentinels name.
    """
    from ..sentinels import accept, look

    shown = look()
    for line in shown.lines:
        print(line)
    if not yes:
        confirm(f"Let every worker trust {shown.named.primary} in epoch {shown.named.epoch}?")
    accept(shown)
    print(f"accepted: {shown.named.primary} in epoch {shown.named.epoch}; every worker trusts it within {shown.seconds} s")
