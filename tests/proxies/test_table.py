"""Every shipped proxy, with every case of the table in docs/forward-auth.md."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stateroom.drills.node import until
from stateroom.drills.postgres import Postgres

from ..commands import Serving
from ..documents import page
from .cases import Door
from .rows import WELL, with_a_cookie
from .shipped import COMMANDS
from .street import Street, built

PAGE = "forward-auth.md"
HUNG_SECONDS = 3
SLOW_SECONDS = 1
Table = dict[str, dict[str, str]]


@pytest.fixture
async def street(tmp_path: Path, own_postgres: Postgres) -> AsyncIterator[Street]:
    async with built(tmp_path, own_postgres) as made:
        yield made


def documented() -> Table:
    """The page's table: words, by proxy and by case."""
    lines = re.findall(r"^\| (.*) \|$", page(PAGE).split("## Tested requests and their results", 1)[1], re.MULTILINE)
    rows = [line.split(" | ") for line in lines]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


@pytest.mark.timeout(180)
async def test_every_proxy_does_what_the_table_says(street: Street) -> None:
    seen: Table = {name: await street.column(case) for name, case in WELL.items()}
    seen["Stateroom responds after one second"] = await slow(street)
    seen["Stateroom hangs"] = await hung(street)
    street.redis.pause()
    seen["Redis unavailable"] = await street.column(with_a_cookie)
    street.journal.stop()
    seen["Redis and the user database unavailable"] = await street.column(with_a_cookie)
    street.journal.start()
    street.redis.resume()
    await until(street.is_well, "everybody is still signed in, at every proxy")
    street.service.signal(signal.SIGKILL)
    await asyncio.to_thread(street.service.wait)
    seen["Stateroom itself unavailable"] = await street.column(with_a_cookie)
    print(as_text(seen))
    assert seen == documented()


async def slow(street: Street) -> dict[str, str]:
    """Stateroom stops, and continues after a second."""
    stop(street.service)
    asyncio.get_running_loop().call_later(SLOW_SECONDS, proceed, street.service)
    return await street.column(with_a_cookie)


async def hung(street: Street) -> dict[str, str]:
    """Stateroom accepts connections and does not respond. Nobody passes, and nobody waits long."""

    async def in_time(door: Door) -> str:
        started = time.monotonic()
        outcome = await with_a_cookie(door)
        seconds = time.monotonic() - started
        return outcome if seconds < HUNG_SECONDS else f"{outcome} after {seconds:.1f} s"

    stop(street.service)
    try:
        return await street.column(in_time)
    finally:
        proceed(street.service)
        await until(street.is_well, "everybody is still signed in, at every proxy")


def stop(service: Serving) -> None:
    service.signal_workers(signal.SIGSTOP)


def proceed(service: Serving) -> None:
    service.signal_workers(signal.SIGCONT)


def as_text(table: Table) -> str:
    """The table as it stands on the page."""
    rows = [["request", *COMMANDS], ["---"] * (len(COMMANDS) + 1), *([case, *words.values()] for case, words in table.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
