"""`python -m stateroom` is the `stateroom` command."""

from .cli import main

main()
