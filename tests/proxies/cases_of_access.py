"""Whether a client gets in: sign-ins, sign-outs and the access rules."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

from .cases import FETCH, PAGE, VISIT, Answer, Door, cookie_of

RULES = """\
- name: open
  hosts: [127.0.0.1]
  paths: [/open/*]
  allow: anyone
- name: for administrators
  hosts: [127.0.0.1]
  paths: [/closed/*]
  allow: {groups: [admins]}
- name: for staff
  hosts: [127.0.0.1]
  paths: [/staff/*]
  allow: {groups: [staff]}
- name: soon after a sign-in
  hosts: [127.0.0.1]
  paths: [/fresh/*]
  allow: {groups: [staff]}
  need: {fresh: 1s}
- name: preflight
  hosts: [127.0.0.1]
  paths: [/api/*]
  methods: [OPTIONS]
  allow: anyone
- name: the rest
  hosts: [127.0.0.1]
  allow: signed-in
"""
"""The access rules of the test, in which each door is another port of one host."""


async def signed_in(door: Door) -> str:
    answer = await door.ask(headers=VISIT | {"Cookie": f"theme=dark; {door.cookie}"})
    assert answer.told is not None, answer
    assert (answer.told["method"], answer.told["path"]) == ("GET", PAGE)
    assert "theme=light; Path=/" in answer.headers.getall("Set-Cookie")
    return door.outcome(answer)


async def visits_a_page(door: Door) -> str:
    outcomes = {
        door.outcome(await door.ask(headers=VISIT)),
        door.outcome(await door.ask(PAGE, "HEAD", headers=VISIT)),
        door.outcome(await door.ask("/a;b=1/%C3%A4?x=%2F&y=%5C&z=a+b", headers={"Accept": "text/html"})),
    }
    return " or ".join(sorted(outcomes))


async def asks_by_script(door: Door) -> str:
    outcomes = set()
    for headers in (FETCH, {"Accept": "application/json"}, VISIT | {"X-Requested-With": "XMLHttpRequest"}):
        answer = await door.ask(headers=headers)
        outcomes.add(_with_kind(door, answer))
    outcomes.add(_with_kind(door, await door.ask("/x", "POST", {"x": 1}, headers=FETCH)))
    return " or ".join(sorted(outcomes))


async def sends_a_form(door: Door) -> str:
    """Signed out. The page says so, and repeats nothing of the form."""
    form = {"Referer": f"{door.url}/form", "Content-Type": "application/x-www-form-urlencoded"}
    async with door.http.post(f"{door.url}/x", data="note=my-secret", headers=VISIT | form, allow_redirects=False) as response:
        answer = Answer("/x", response.status, response.headers, None, await response.text())
    assert "my-secret" not in answer.text
    back = [parse_qs(urlsplit(link).query).get("rd") for link in _links(answer.text) if "/login" in link]
    assert back == [["/form"]], answer.text
    return _with_kind(door, answer)


def _links(page: str) -> list[str]:
    return [part.split('"')[0].replace("&amp;", "&") for part in page.split('href="')[1:]]


async def signed_out(door: Door) -> str:
    """Sign out by a call, and by a form on a page of the application."""
    called, sent = await door.sign_in(), await door.sign_in()
    assert (await door.own("/api/auth/logout", "POST", headers={"Cookie": called})).status == 200
    browser = {"Origin": door.url, "Sec-Fetch-Site": "same-origin", "Cookie": sent}
    async with door.http.post(f"{door.url}/.stateroom/logout", data={}, headers=browser, allow_redirects=False) as answer:
        assert "/.stateroom/login" in answer.headers["Location"], answer
    outcomes = {_with_kind(door, await door.ask(headers=FETCH | {"Cookie": cookie})) for cookie in (called, sent)}
    return " or ".join(sorted(outcomes))


async def revoked(door: Door) -> str:
    """Sign out from another device."""
    cookie = await door.sign_in()
    assert (await door.ask(headers={"Cookie": cookie})).told is not None
    door.cookie = await door.sign_in()
    answer = await door.own("/api/sessions", "DELETE", headers={"Cookie": door.cookie})
    assert answer.status == 200, answer
    door.cookie = cookie_of(answer)
    return _with_kind(door, await door.ask(headers=FETCH | {"Cookie": cookie}))


async def two_cookies(door: Door) -> str:
    """A browser may keep it at two paths. Cookies of two users are in tests/request/test_doubled_cookies.py."""
    return door.outcome(await door.ask(headers=FETCH | {"Cookie": f"{door.cookie}; {door.cookie}"}))


async def visits_what_is_open(door: Door) -> str:
    outcomes = {
        door.outcome(await door.ask("/open/x", headers=VISIT)),
        door.outcome(await door.ask("/open/x", "POST", {"x": 1}, headers=FETCH)),
        door.outcome(await door.ask("/open/x", headers={"Cookie": f"{door.cookie}broken"})),
    }
    return " or ".join(sorted(outcomes))


async def visits_what_is_open_signed_in(door: Door) -> str:
    return door.outcome(await door.ask("/open/x", headers=VISIT | {"Cookie": door.cookie}))


async def visits_what_is_closed(door: Door) -> str:
    answer = await door.ask("/closed/x", headers=VISIT | {"Cookie": door.cookie})
    assert "for administrators" not in answer.text, "it names a rule"
    assert door.email in answer.text, "it says who is signed in"
    return _with_kind(door, answer)


async def asks_for_what_is_closed(door: Door) -> str:
    outcomes = {
        _with_kind(door, await door.ask("/closed/x", headers=FETCH | {"Cookie": door.cookie})),
        _with_kind(door, await door.ask("/closed/x", "POST", {"x": 1}, headers=FETCH | {"Cookie": door.cookie})),
    }
    return " or ".join(sorted(outcomes))


async def is_in_a_group(door: Door) -> str:
    return door.outcome(await door.ask("/staff/x", headers=VISIT | {"Cookie": door.cookie}))


async def visits_long_after_the_sign_in(door: Door) -> str:
    return await _once_it_is_old(door, VISIT)


async def asks_long_after_the_sign_in(door: Door) -> str:
    return await _once_it_is_old(door, FETCH)


async def _once_it_is_old(door: Door, headers: dict[str, str]) -> str:
    """The outcome once the sign-in is more than a second old, which is the rule's limit."""
    async with asyncio.timeout(10):
        while (answer := await door.ask("/fresh/x", headers=headers | {"Cookie": door.cookie})).told is not None:
            await asyncio.sleep(0.1)  # A sign-in ages without an event.
    return _with_kind(door, answer)


async def sends_a_preflight(door: Door) -> str:
    """Before a call from another origin, browsers ask without credentials. One rule lets this pass, and nothing else."""
    preflight = FETCH | {"Origin": "https://other.example.com", "Access-Control-Request-Method": "PUT"}
    assert (await door.ask("/api/x", headers=preflight)).status == 401
    assert (await door.ask("/other", "OPTIONS", headers=preflight)).status == 401
    return door.outcome(await door.ask("/api/x", "OPTIONS", headers=preflight))


def _with_kind(door: Door, answer: Answer) -> str:
    """The outcome, and whether the client got a page or which problem document."""
    kind = answer.headers.get("Content-Type", "").split(";")[0]
    if answer.told is not None or not answer.text:
        return door.outcome(answer)
    if kind == "application/problem+json":
        return f"{door.outcome(answer)} {json.loads(answer.text)['type'].rpartition('/')[2].rpartition(':')[2]}"
    is_ours = "/.stateroom/" in answer.text
    return f"{door.outcome(answer)}, {'a page' if is_ours else 'not ours'}"
