"""Who a client is for the application: identity headers, credentials and renewed cookies."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from itertools import product

import jwt

from .cases import CACHEABLE, COOKIE, FETCH, PAGE, VISIT, Answer, Door, sent_to_app

_SIMPLE = [
    ("Remote-User", "1"), ("Remote-Email", "root@example.com"), ("Remote-Name", "Root"), ("Remote-Groups", "admin"),
    ("Remote-Session-Degraded", "false"), ("Remote-Assertion", "e30.e30.e30"),
]  # fmt: skip
OVERWRITTEN: Sequence[Sequence[tuple[str, str]]] = [
    _SIMPLE,
    [(name.upper(), value) for name, value in _SIMPLE],
    [(name.swapcase(), value) for name, value in _SIMPLE],
    [(name, value) for name, value in _SIMPLE for _ in range(2)],
    [(name, "") for name, _ in _SIMPLE],
    [*_SIMPLE, ("Connection", ", ".join(name for name, _ in _SIMPLE))],
    [("Remote-User", ""), ("Connection", "keep-alive, Remote-User, Remote-Groups, Remote-Assertion")],
]
"""Identity headers that a client sends, in the spelling of the proxy."""

SEPARATORS = "_.~!'|^`$%&*+#"
"""What a header's name may have between words (RFC 9110, section 5.6.2)."""


def respelled(name: str, separators: Sequence[str]) -> str:
    """The name with other separators: `Remote-User` as `Remote_User`."""
    first, *rest = name.split("-")
    return first + "".join(separator + word for separator, word in zip(separators, rest, strict=False))


FOLDED: Sequence[Sequence[tuple[str, str]]] = [
    *([(respelled(name, separator * 2), value) for name, value in _SIMPLE] for separator in SEPARATORS),
    [(respelled(name, "__").upper(), value) for name, value in _SIMPLE],
    [(respelled(name, ".."), value) for name, value in _SIMPLE for _ in range(2)],
    [("Remote" + a + "Session" + b + "Degraded", "false") for a, b in product("-_.", repeat=2) if a + b != "--"],
    [*((respelled(name, "__"), value) for name, value in _SIMPLE), ("Connection", "Remote_User, Remote_Groups")],
]
"""The same in spellings that some application servers take for it."""

# What an application's own clients may send: RFC 7617, an opaque and a structured bearer (RFC 6750), a Kerberos ticket (RFC 4559).
OWN = (
    f"Basic {b64encode(b'ada:open sesame').decode()}",
    "Bearer mF_9.B5f-4.1JqM",
    f"Bearer {jwt.encode({'sub': '1'}, 'secret' * 9, 'HS256', headers={'typ': 'at+jwt', 'kid': 'theirs'})}",
    f"Negotiate {b64encode(bytes(5_200)).decode()}",
    'Token a="{env.HOME}", b="%[env(HOME)]", c="$host", d="%REQ(host)%"',  # no proxy may take it for its own language
)


async def forges(door: Door) -> str:
    """A client sends identity headers. If it is signed in the proxy overwrites them; if not, the proxy stops the request."""
    outcomes = set()
    for forged in OVERWRITTEN:
        outcomes.add(door.outcome(await door.ask(headers=[*forged, *FETCH.items(), ("Cookie", door.cookie)])))
        answer = await door.ask(headers=[*forged, *FETCH.items()])
        assert (answer.status, answer.told) == (401, None), answer
        outcomes.add(door.outcome(await door.ask("/open/x", headers=[*forged, *FETCH.items()])).replace(" as nobody", ""))
    return "overwritten" if outcomes == {"passes"} else " or ".join(sorted(outcomes))


async def forges_in_other_spellings(door: Door) -> str:
    """The proxy removes them, or the request is refused."""
    for forged in FOLDED:
        for path, cookie in (("/x", door.cookie), ("/open/x", "theme=dark")):
            answer = await door.ask(path, headers=[*forged, *FETCH.items(), ("Cookie", cookie)])
            if answer.told is None and answer.status in {400, 403}:
                continue
            if door.outcome(answer) not in {"passes", "passes as nobody"}:
                return f"{door.outcome(answer)} after {forged}"
            got = {name for name, _ in answer.told["headers"]} if answer.told else set()
            if seen := [name for name, _ in forged if name in got - {"Connection"}]:
                return f"{seen} seen"
    return "not seen"


async def looks_for_our_cookie(door: Door) -> str:
    mine = door.cookie
    for sent in (f"theme=dark; {mine}; other=1", f"{mine}; theme=dark; other=1", f"theme=dark; other=1;{mine}"):
        answer = await door.ask(headers={"Cookie": sent})
        if sent_to_app(answer, "cookie") != ["theme=dark; other=1"]:
            return f"seen: {answer.told}"
    answer = await door.ask(headers={"Cookie": mine})
    assert answer.told is not None, answer
    return "not seen" if COOKIE not in str(answer.told) else f"seen: {answer.told}"


async def shows_our_bearer(door: Door) -> str:
    return await _shows_ours(door, await door.credential("bearer"))


async def shows_our_access_token(door: Door) -> str:
    return await _shows_ours(door, await door.credential("access token"))


async def shows_our_cookie_as_a_bearer(door: Door) -> str:
    """It opens nothing there. The request passes by the cookie."""
    return await _shows_ours(door, door.cookie.partition("=")[2], opens=False)


async def _shows_ours(door: Door, value: str, *, opens: bool = True) -> str:
    """Send the value in `Authorization`. The application must get the request, without the value."""
    ours, own, cookie = ("Authorization", f"Bearer {value}"), ("AUTHORIZATION", OWN[0]), ("Cookie", door.cookie)
    passing: list[list[tuple[str, str]]] = [[ours, cookie], [("authorization", f"bearer  {value}"), cookie]]
    if opens:
        passing += [[ours], [ours, ("Cookie", "theme=dark")]]
    for headers in passing:
        answer = await door.ask(headers=[*FETCH.items(), *headers])
        if door.outcome(answer) != "passes" or sent_to_app(answer, "authorization") not in ([], [""]):
            return f"seen, or refused: {door.outcome(answer)} {answer.told}"
    hop = ("Connection", "close, Authorization")
    for headers in ([own, ours, cookie], [ours, own, cookie], [ours, ours, cookie], [ours, hop, cookie], [own, ours, hop, cookie]):
        answer = await door.ask(headers=[*FETCH.items(), *headers])  # Some proxies refuse two.
        if value in str(answer.told):
            return f"seen: {answer.told}"
    for path in ("/open/x", "/x"):
        answer = await door.ask(path, headers=[*FETCH.items(), ours, cookie, ("Authorization_", value), ("X-Other", "1")])
        if answer.told is not None and value in str(sent_to_app(answer, "authorization")):
            return f"seen at {path}"
    return "not seen"


async def shows_its_own_authorization(door: Door) -> str:
    """What is as long as proxies and applications usually take still passes, beside cookies of that length."""
    for cookies in (door.cookie, f"theme={'d' * 7_000}; {door.cookie}"):
        for value in OWN:
            answer = await door.ask(headers={"Authorization": value, "Cookie": cookies})
            if door.outcome(answer) != "passes" or sent_to_app(answer, "authorization") != [value]:
                return f"not passed on: {door.outcome(answer)} {answer.told}"
    answer = await door.ask(headers={"Cookie": door.cookie})
    return "passed on" if sent_to_app(answer, "authorization") in ([], [""]) else f"made up: {answer.told}"


def _renewed(answer: Answer) -> list[str]:
    return [each.split(";")[0] for each in answer.headers.getall("Set-Cookie", ()) if each.startswith(f"{COOKIE}=")]


async def _visit(door: Door, path: str, **conditions: str) -> Answer:
    """Visit a page until the cookie is renewed, at most a few times. In this test a renewal is due after 10 ms."""
    headers = VISIT | {"Cookie": door.cookie} | conditions
    answer = await door.ask(path, headers=headers)
    for _ in range(20):
        if _renewed(answer):
            break
        answer = await door.ask(path, headers=headers)
    return answer


async def is_renewed(door: Door) -> str:
    answer = await _visit(door, PAGE)
    renewed = _renewed(answer)
    if not renewed:
        return "not passed on"
    assert "theme=light; Path=/" in answer.headers.getall("Set-Cookie")
    assert door.outcome(await door.ask(headers={"Cookie": renewed[0]})) == "passes"
    return "passed on"


async def asks_for_what_caches_store(door: Door) -> str:
    """An answer that any cache may store. The answer to a script renews nothing and stays as it is, and so does a 304."""
    outcomes = set()
    for status in (200, 404, 500):
        renewed = await _visit(door, f"/cacheable/{status}")
        assert (renewed.status, len(_renewed(renewed))) == (status, 1), renewed
        outcomes.add(_kept_by(renewed))
    for _ in range(5):
        assert _is_untouched(await door.ask("/cacheable/200", headers=FETCH | {"Cookie": door.cookie}))
    assert _is_untouched(await _visit(door, "/cacheable/304", **{"If-None-Match": '"1"'}))
    return " or ".join(sorted(outcomes))


def _is_untouched(answer: Answer) -> bool:
    kept = {name: answer.headers.getall(name, []) for name in CACHEABLE}
    return _renewed(answer) == [] and kept == {name: [value] for name, value in CACHEABLE.items()}


def _kept_by(answer: Answer) -> str:
    """Which caches may store the answer."""
    words = {word.strip() for each in answer.headers.getall("Cache-Control", ()) for word in each.lower().split(",")}
    for_others = [name for name in ("CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires") if name in answer.headers]
    is_private = bool(words & {"private", "no-store"}) and not any(word.startswith(("public", "s-maxage")) for word in words)
    return "private" if is_private and not for_others else f"{answer.headers}"
