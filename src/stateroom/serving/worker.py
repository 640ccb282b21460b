"""One of several workers. The supervisor starts it with `python -m stateroom.serving.worker`.

The worker writes a line to its standard output when it is ready. From then on it answers the supervisor's questions
(heartbeat.py). When its standard input ends, the supervisor is dead, and the worker drains.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from .. import METRICS
from ..app import make_app
from ..errors import SettingsError
from ..settings import Settings
from ..telemetry import workers
from ..telemetry.logging import configure_logging
from .heartbeat import answer_supervisor
from .listeners import Listeners, listen
from .process import loop_factory, serve

READY = b"ready\n"
WRONG_SETTINGS = 2
"""The exit status for invalid settings. The command line has it too."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stateroom.serving.worker")
    parser.add_argument("number", type=int)
    parser.add_argument("--of", type=int, required=True, dest="count")
    options = parser.parse_args()
    workers.join(options.number)
    try:
        settings = Settings.load()
        configure_logging(settings)
        with listen(settings, is_shared=True) as listeners, asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_work(settings, listeners, options))
    except SettingsError as error:
        print(f"stateroom: {error}", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)


async def _work(settings: Settings, listeners: Listeners, options: argparse.Namespace) -> None:
    app = make_app(settings, hashing_threads=max(1, ((os.cpu_count() or 1) - 1) // options.count))
    app[METRICS].workers_wanted.set(options.count)
    stop = asyncio.Event()
    is_orphan = False

    def orphaned() -> None:
        nonlocal is_orphan
        is_orphan = True
        stop.set()

    answer_supervisor(orphaned)
    await serve(settings, app, listeners, on_ready=_say_ready, stop=stop)
    if is_orphan:
        workers.clear_away()


def _say_ready() -> None:
    os.write(1, READY)
    os.dup2(2, 1)  # the supervisor does not read any more lines, only answers on a copy of this pipe


if __name__ == "__main__":
    main()
