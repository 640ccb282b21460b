"""aiohttp's own tests of its server hold with sessions in every application, and under our runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from .sdists import installed_plugins, unpacked_tests
from .suites import Reasons, Suite, outdated, unexplained

# As in aiohttp's pytest.ini. Warnings are errors there too.
INI = """
[pytest]
addopts = --strict-markers -m "not dev_mode and not autobahn and not internal"
empty_parameter_set_mark = xfail
filterwarnings =
  error
  ignore:Unclosed client session <aiohttp.client.ClientSession object at 0x:ResourceWarning
  ignore:aiohttp.pytest_plugin will be removed in v4:DeprecationWarning
  ignore:'asyncio.AbstractEventLoopPolicy' is deprecated:DeprecationWarning:uvloop
markers =
  autobahn:
  dev_mode:
  internal:
  skip_blockbuster:
timeout = 60
xfail_strict = true
"""

# Those that serve applications. The others look at single parts without a server.
FILES = [
    "test_web_functional.py",
    "test_web_sendfile_functional.py",
    "test_web_websocket_functional.py",
    "test_client_ws_functional.py",
    "test_web_middleware.py",
    "test_web_urldispatcher.py",
    "test_web_exceptions.py",
    "test_web_log.py",
    "test_web_app.py",
    "test_classbasedview.py",
]

# What fails by design, and why.
WITH_SESSIONS: Reasons = {}
WITH_USED_SESSIONS: Reasons = {}
UNDER_RUNNER: Reasons = {
    "test_web_log.py::test_contextvars_logger[pyloop]": (
        "It waits for a line of aiohttp's access log, which the runner turns off: the service has its own (telemetry/access.py)."
    ),
    "test_web_functional.py::test_large_header[pyloop]": "The runner answers 431 to a large header, and aiohttp 400.",
}


@pytest.fixture(scope="module")
def suite(request: pytest.FixtureRequest) -> Suite:
    cache = request.config.cache
    assert cache is not None
    return Suite(unpacked_tests("aiohttp", cache), ("pytest_mock", "pytest_timeout"), installed_plugins(cache), INI)


@pytest.mark.timeout(600)  # Some hundred tests each. Half a minute on an idle machine.
@pytest.mark.parametrize(
    ("plugin", "by_design"),
    [("sessions", WITH_SESSIONS), ("used_sessions", WITH_USED_SESSIONS), ("runner", UNDER_RUNNER)],
    ids=["with sessions", "with used sessions", "under the runner"],
)
def test_aiohttps_own_tests_hold(suite: Suite, tmp_path: Path, plugin: str, by_design: Reasons) -> None:
    outcome = suite.run(tmp_path, FILES, f"tests.peers.plugins.{plugin}")
    assert len(outcome.ran) > 500
    assert unexplained(suite, tmp_path, outcome, by_design) == {}
    assert outdated(outcome, by_design) == []
