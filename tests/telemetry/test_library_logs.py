"""In an application of somebody else, Stateroom logs through `logging` and changes nothing of how that is configured."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

import stateroom
from stateroom import logs, testing

SOURCES = str(Path(stateroom.__file__).parents[1])
HOSTILE = 'x\n{"event": "sign_in"}\r\n\x1b[31m\u2028 user_id=1'

APPLICATION = """
import asyncio, logging, sys
from aiohttp import ClientSession, web
import stateroom
from stateroom import testing

async def enter(request):
    await stateroom.sign_in(request, 7)
    stateroom.security_event("export", name="a file")
    return web.json_response({})

async def main():
    app = web.Application()
    stateroom.setup(app, testing.settings(), client_factory=testing.fake_redis)
    app.add_routes([web.post("/enter", enter)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession() as client, client.post(f"http://127.0.0.1:{runner.addresses[0][1]}/enter") as response:
        assert response.status == 200
    await runner.cleanup()

asyncio.run(main())
"""


def run(configuration: str) -> tuple[str, str]:
    """What a process writes to stdout and stderr in which an application signs somebody in over HTTP."""
    result = subprocess.run(
        [sys.executable, "-c", configuration + APPLICATION],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout, result.stderr


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def events(stream: io.StringIO) -> logging.Logger:
    """The logger `stateroom.part` with a handler of its own."""
    logger = logging.getLogger("stateroom.part")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(filename)s %(funcName)s %(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger


def test_nothing_is_written_where_the_application_configures_no_logging() -> None:
    assert run("") == ("", "")


def test_levels_and_handlers_of_the_application_are_obeyed() -> None:
    configuration = "import logging\nlogging.basicConfig(level=logging.{level}, format='%(levelname)s:%(name)s:%(message)s')\n"
    written, errors = run(configuration.format(level="INFO"))
    assert written == ""
    ours = [line for line in errors.splitlines() if ":stateroom." in line]
    assert ours[-1] == "INFO:stateroom.security:export name='a file' security=True"
    assert ours[-2].startswith("INFO:stateroom.security:sign_in session=")
    assert "user_id=7 address=127.0.0.1" in ours[-2]
    assert run(configuration.format(level="ERROR")) == ("", "")


def test_an_application_that_has_configured_structlog_is_left_alone() -> None:
    configuration = """
import atexit, structlog
structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.PrintLoggerFactory())
chosen = structlog.get_config()["processors"]
atexit.register(lambda: print(structlog.get_config()["processors"] is chosen))
"""
    assert run(configuration) == ("True\n", "")


def test_the_library_does_not_import_structlog() -> None:
    configuration = "import atexit\natexit.register(lambda: print('structlog' in sys.modules))\n"
    assert run(configuration) == ("False\n", "")


def test_no_logger_but_ours_is_touched() -> None:
    configuration = """
import atexit, logging
import aiohttp.web, aiosqlite, redis.asyncio, sqlalchemy.ext.asyncio

def state():
    loggers = {name: each for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    return {
        name: (each.level, each.propagate, each.disabled, list(each.handlers))
        for name, each in [*loggers.items(), ("root", logging.root)]
        if name.partition(".")[0] != "stateroom"
    }

before = state()
atexit.register(lambda: print({name: each for name, each in state().items() if each != before.get(name, each)}))
"""
    assert run(configuration) == ("{}\n", "")


def test_a_record_has_the_fields_as_attributes_for_json_formatters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logs.get_logger("stateroom.part").info("happened", count=2, reason="a reason", args="not an attribute")
    [record] = caplog.records
    assert record.getMessage() == "happened count=2 reason='a reason' args='not an attribute'"
    assert {name: vars(record)[name] for name in ("event", "count", "reason", "args")} == {
        "event": "happened", "count": 2, "reason": "a reason", "args": (),
    }  # fmt: skip


def test_a_record_names_the_place_in_the_code(events: logging.Logger, stream: io.StringIO) -> None:
    logs.get_logger(events.name).warning("happened")
    assert stream.getvalue() == f"WARNING stateroom.part {Path(__file__).name} {_this_function()} happened\n"


def test_clients_cannot_write_lines_of_their_own(events: logging.Logger, stream: io.StringIO) -> None:
    logs.get_logger(events.name).info("odd", text=HOSTILE, values=[HOSTILE], error=ValueError(HOSTILE), other=_Written(HOSTILE))
    [line] = stream.getvalue().splitlines()
    assert "\x1b" not in line


def test_a_traceback_goes_through_logging_too(events: logging.Logger, stream: io.StringIO) -> None:
    try:
        raise ValueError("bug")
    except ValueError:
        logs.get_logger(events.name).exception("failed", loop="housekeeping")
    assert "failed loop=housekeeping\nTraceback" in stream.getvalue()


def test_a_line_that_is_off_makes_no_text(events: logging.Logger, stream: io.StringIO) -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("made a text that nobody reads")

    logs.get_logger(events.name).debug("happened", value=Costly())
    assert stream.getvalue() == ""


async def test_sql_of_the_application_stays_in_its_debug_log_and_ours_does_not_come_in(
    aiohttp_client: AiohttpClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aiosqlite = pytest.importorskip("aiosqlite")
    caplog.set_level(logging.DEBUG)

    async def enter(request: web.Request) -> web.Response:
        await stateroom.sign_in(request, "a-user-of-ours")
        await stateroom.sign_out(request)
        async with aiosqlite.connect(tmp_path / "own.db") as connection:
            await connection.execute("SELECT ?", ("own-value",))
        return web.json_response({})

    app = web.Application()
    stateroom.setup(app, testing.settings(database_url=f"sqlite:///{tmp_path}/ours.db"), client_factory=testing.fake_redis)
    app.add_routes([web.post("/enter", enter)])
    client = await aiohttp_client(app)
    assert (await client.post("/enter")).status == 200
    told = [record.getMessage() for record in caplog.records if record.name == "aiosqlite"]
    assert any("own-value" in line for line in told)
    assert not any("a-user-of-ours" in line for line in told)


def test_an_event_passes_a_queue_as_text(stream: io.StringIO) -> None:
    """`QueueHandler` makes a record ready for another thread or process."""
    import queue
    from logging.handlers import QueueHandler

    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger = logging.getLogger("stateroom.queued")
    logger.handlers[:] = [QueueHandler(waiting)]
    logger.setLevel(logging.INFO)
    thread = threading.Thread(target=lambda: logs.get_logger(logger.name).info("happened", count=2))
    thread.start()
    thread.join()
    record = waiting.get_nowait()
    assert (record.msg, vars(record)["count"]) == ("happened count=2", 2)


class _Written:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _this_function() -> str:
    return sys._getframe(1).f_code.co_name
