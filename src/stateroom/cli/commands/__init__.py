"""The subcommands with their arguments and options. Each imports what it needs when it runs, so that `--help` is quick."""
