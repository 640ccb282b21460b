from __future__ import annotations

from unittest import mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from stateroom.request.proxies import Proxies
from stateroom.request.transport import CookieJar, read_bearer, read_cookie
from stateroom.settings import Settings

KEY = "A" * 43


def jar(**values: object) -> CookieJar:
    settings = Settings(_env_file=None, **values)
    return CookieJar(settings, opens=lambda value: value == "ours", proxies=Proxies(settings))


def read(*headers: str) -> str | list[str] | None:
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


def test_several_cookies_of_the_name_are_read_in_their_order() -> None:
    assert read("session_id=abc; session_id=def") == ["abc", "def"]
    assert read("session_id=abc", "a=1; session_id=def ; b=2; session_id=abc") == ["abc", "def", "abc"]
    assert read("session_id=abc; a=1 session_id=def") == "abc"


def test_two_cookies_of_another_name_are_none() -> None:
    request = make_mocked_request("GET", "/", headers={"Cookie": "a=1; b=2; b=3"})
    assert (read_cookie(request, "a="), read_cookie(request, "b="), read_cookie(request, "c=")) == ("1", None, None)


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


def test_embedded_cookies_turn_secure_with_the_first_request_of_a_trusted_proxy() -> None:
    transport = mock.Mock()
    transport.get_extra_info.side_effect = {"peername": ("127.0.0.1", 5)}.get
    embedded = jar(trusted_proxies=("127.0.0.1/32",))
    headers: CIMultiDict[str] = CIMultiDict()
    embedded.write(headers, "VALUE", max_age=None)
    assert "Secure" not in headers.popone("Set-Cookie")
    assert embedded.read_value(make_mocked_request("GET", "/", headers={"X-Forwarded-Proto": "https"}, transport=transport)) == (
        None,
        "cookie",
    )
    embedded.write(headers, "VALUE", max_age=None)
    assert headers["Set-Cookie"].endswith("; Secure")


@pytest.mark.parametrize(("public_url", "is_secure"), [("https://app.example.com", True), ("http://app.example.com", False)])
def test_embedded_cookies_turn_secure_with_the_first_request_for_a_public_url_with_https(
    public_url: str, *, is_secure: bool
) -> None:
    embedded = jar(public_url=public_url)
    headers: CIMultiDict[str] = CIMultiDict()
    embedded.read_value(make_mocked_request("GET", "/", headers={"Host": "127.0.0.1:8080"}))
    embedded.write(headers, "VALUE", max_age=None)
    assert "Secure" not in headers.popone("Set-Cookie")
    embedded.read_value(make_mocked_request("GET", "/", headers={"Host": "app.example.com"}))
    embedded.write(headers, "VALUE", max_age=None)
    assert ("; Secure" in headers["Set-Cookie"]) is is_secure


def lines(action: str, **values: object) -> list[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    of = jar(**values)
    if action == "write":
        of.write(headers, "VALUE", max_age=None)
    else:
        of.clear(headers)
    return headers.getall("Set-Cookie")


@pytest.mark.parametrize("action", ["write", "clear"])
def test_a_partitioned_cookie_is_written_and_cleared_so_and_the_one_of_before_is_dropped(action: str) -> None:
    before, now = lines(action, redis_host="localhost", cookie_keys=KEY, cookie_partitioned=True, cookie_samesite="None")
    assert before == "__Host-session=; Max-Age=1; Path=/; HttpOnly; SameSite=None; Secure"
    assert now.startswith("__Host-session=VALUE;" if action == "write" else "__Host-session=; Max-Age=0;")
    assert now.endswith("; Path=/; HttpOnly; SameSite=None; Secure; Partitioned")


def test_a_cookie_that_is_not_partitioned_any_more_is_dropped() -> None:
    before, now = lines("write", redis_host="localhost", cookie_keys=KEY, cookie_former="/ partitioned")
    assert before == "__Host-session=; Max-Age=1; Path=/; HttpOnly; SameSite=Strict; Secure; Partitioned"
    assert "Partitioned" not in now


def test_cookies_of_former_places_are_dropped_before_ours_is_set_and_ours_is_not_among_them() -> None:
    dropped = lines("write", cookie_domain="example.com", cookie_former="example.com, example.com/app, /, / partitioned")
    assert [line.split("; HttpOnly")[0] for line in dropped] == [
        "session_id=; Max-Age=1; Path=/app; Domain=example.com",
        "session_id=; Max-Age=1; Path=/",  # a partitioned one needs Secure
        "session_id=VALUE; Path=/; Domain=example.com",
    ]


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
