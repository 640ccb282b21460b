"""aiohttp-session's own tests of behaviour hold with Stateroom under its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..servers import Servers
from .sdists import installed_plugins, unpacked_tests
from .suites import Reasons, Suite, outdated

INI = """
[pytest]
filterwarnings =
  ignore:It is recommended to use web.RequestKey
timeout = 60
"""

# Without the storages for memcached and NaCl, and without the tests that only read the data in a cookie.
FILES = [
    "test_cookie_storage.py",
    "test_encrypted_cookie_storage.py",
    "test_get_session.py",
    "test_http_exception.py",
    "test_redis_storage.py",
    "test_response_types.py",
    "test_session_dict.py",
    "test_session_middleware.py",
]

_IN_THE_COOKIE = "It reads or writes the data in the cookie. Here the cookie holds no data."
_ARGUMENTS = "It looks at the arguments of a storage. Here settings say where sessions are."
_CLASS = "It looks at members that `stateroom.Session` does not have (docs/migration.md)."

BY_DESIGN: Reasons = {
    "test_cookie_storage.py::test_change_session[pyloop]": _IN_THE_COOKIE,
    "test_cookie_storage.py::test_clear_cookie_on_session_invalidation[pyloop]": (
        "Its cookie stays, with nothing in it. Ours is deleted."
    ),
    "test_cookie_storage.py::test_load_existing_session[pyloop]": _IN_THE_COOKIE,
    "test_encrypted_cookie_storage.py::test_change_session[pyloop]": _IN_THE_COOKIE,
    "test_encrypted_cookie_storage.py::test_clear_cookie_on_session_invalidation[pyloop]": (
        "It wants the deletion of a cookie without HttpOnly. Ours repeats the cookie's attributes."
    ),
    "test_encrypted_cookie_storage.py::test_invalid_key": _ARGUMENTS,
    "test_encrypted_cookie_storage.py::test_load_existing_session[pyloop]": _IN_THE_COOKIE,
    "test_encrypted_cookie_storage.py::test_load_existing_session_with_fernet[pyloop]": _IN_THE_COOKIE,
    "test_get_session.py::test_get_new_session": "It calls `new_session` without a server, with a storage of its own.",
    "test_redis_storage.py::test_clear_cookie_on_session_invalidation[pyloop]": (
        "It looks into an old session that was carried over. That key leads to the new session for a minute."
    ),
    "test_redis_storage.py::test_create_storage_with_custom_key_factory[pyloop]": (
        "An application does not choose what opens a session: a key that can be guessed would open it."
    ),
    "test_redis_storage.py::test_load_bad_session[pyloop]": "A value that cannot be read is no session, and the visitor's is new.",
    "test_redis_storage.py::test_no_aioredis_installed": _ARGUMENTS,
    "test_redis_storage.py::test_not_redis_provided_to_storage": _ARGUMENTS,
    "test_redis_storage.py::test_old_aioredis_version": _ARGUMENTS,
    "test_redis_storage.py::test_set_ttl_manually_set[pyloop]": (
        "A visitor's session has the lifetime of the settings. `sign_in(max_age=…)` sets that of a signed-in user's."
    ),
    "test_response_types.py::test_bad_response_type[pyloop]": "It calls the middleware without a server. aiohttp names the fault.",
    "test_response_types.py::test_prepared_response_type[pyloop]": (
        "It wants an error for a response that has left. Here sessions are saved before a response leaves."
    ),
    "test_response_types.py::test_stream_response[pyloop]": "It wants that nothing is saved with a stream. Here it is.",
    "test_session_dict.py::test__repr__": _CLASS,
    "test_session_dict.py::test__repr__2": _CLASS,
    "test_session_dict.py::test_change": "A change in place is noticed without `changed()`, and does not need it.",
    "test_session_dict.py::test_create": _CLASS,
    "test_session_dict.py::test_create2": _CLASS,
    "test_session_dict.py::test_create3": _CLASS,
    "test_session_dict.py::test_invalidate": _CLASS,
    "test_session_dict.py::test_invalidate2": _CLASS,
    "test_session_dict.py::test_set_new_identity_for_not_new_session": _CLASS,
    "test_session_dict.py::test_set_new_identity_ok": _CLASS,
}


@pytest.fixture
def suite(request: pytest.FixtureRequest, servers: Servers) -> Suite:
    cache, node = request.config.cache, servers.valkey
    assert cache is not None
    return Suite(
        unpacked_tests("aiohttp-session", cache),
        ("aiohttp.pytest_plugin", "pytest_mock", "pytest_timeout"),
        installed_plugins(cache),
        INI,
        {"REDIS_URL": f"redis://{node.host}:{node.port}"},
    )


@pytest.mark.timeout(300)
def test_aiohttp_sessions_own_tests_hold(suite: Suite, tmp_path: Path) -> None:
    """Its fixtures need Docker, so they are left out, and the plugin has its own."""
    outcome = suite.run(tmp_path, ["--noconftest", *FILES], "tests.peers.plugins.aiohttp_session_names")
    assert {name: text for name, text in outcome.failed.items() if name not in BY_DESIGN} == {}
    assert outdated(outcome, BY_DESIGN) == []
    assert len(outcome.ran) > 30
