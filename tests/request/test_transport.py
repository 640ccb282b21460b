from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from stateroom.request.proxies import Proxies
from stateroom.request.transport import CookieJar, read_bearer
from stateroom.settings import Settings

KEY = "A" * 43


def jar(**values: object) -> CookieJar:
    settings = Settings(_env_file=None, **values)
    return CookieJar(settings, Proxies(settings), opens=lambda value: value == "ours")


def read(*headers: str) -> str | None:
    request = make_mocked_request("GET", "/", headers=CIMultiDict([("Cookie", header) for header in headers]))
    return jar().read_value(request)[0]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("session_id=abc", "abc"),
        ("a=1; session_id=abc; b=2", "abc"),
        ("a=1;session_id=abc;b=2", "abc"),
        ("a=1; session_id=", ""),
        ("xsession_id=abc", None),
        ("a=session_id=abc", None),
        ("session_idx=abc", None),
        ("a=1 session_id=abc", None),
        ("a session_id=abc", None),
        ("a=1; b=2 session_id=abc; session_id=def", "def"),
        ("a=1;  session_id=abc", "abc"),
        ("", None),
    ],
)
def test_the_cookie_is_found_by_its_whole_name(header: str, value: str | None) -> None:
    assert read(header) == value


def test_two_cookies_of_the_name_are_none() -> None:
    assert read("session_id=abc; session_id=def") is None
    assert read("session_id=abc", "session_id=def") is None


def written(max_age: int | None = None, **values: object) -> str:
    headers: CIMultiDict[str] = CIMultiDict()
    jar(**values).write(headers, "VALUE", max_age=max_age)
    assert headers["Cache-Control"] == "no-store"
    return headers["Set-Cookie"]


def test_production_cookies_are_host_bound_secure_and_strict() -> None:
    header = written(redis_host="localhost", cookie_keys=KEY)
    assert header == "__Host-session=VALUE; Path=/; HttpOnly; SameSite=Strict; Secure"


def test_a_domain_makes_it_a_secure_cookie_of_that_domain() -> None:
    header = written(redis_host="localhost", cookie_keys=KEY, cookie_domain="example.com", cookie_samesite="Lax")
    assert header == "__Secure-session=VALUE; Path=/; Domain=example.com; HttpOnly; SameSite=Lax; Secure"


def test_only_remembered_sessions_outlive_the_browser() -> None:
    assert "Max-Age" not in written()
    assert "; Max-Age=60;" in written(max_age=60)


def test_clearing_takes_the_same_attributes() -> None:
    headers: CIMultiDict[str] = CIMultiDict()
    jar(cookie_path="/app").clear(headers)
    assert headers["Set-Cookie"].startswith("session_id=; Max-Age=0; ")
    assert "; Path=/app; " in headers["Set-Cookie"]


def test_a_bearer_of_ours_comes_before_the_cookie_and_another_one_does_not_hide_it() -> None:
    both = {"Cookie": "session_id=abc"}
    assert jar().read_value(make_mocked_request("GET", "/", headers=both | {"Authorization": "Bearer ours"})) == ("ours", "bearer")
    assert jar().read_value(make_mocked_request("GET", "/", headers=both | {"Authorization": "Bearer xyz"})) == ("abc", "cookie")


@pytest.mark.parametrize(("header", "value"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("", None)])
def test_the_bearer_is_read_whatever_its_case(header: str, value: str | None) -> None:
    assert read_bearer(make_mocked_request("GET", "/", headers={"Authorization": header})) == value
