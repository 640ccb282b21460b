"""What a client can do to the target, the host and the method of a request."""

from __future__ import annotations

from collections.abc import Sequence

from .draft import AREAS, HOSTS, Draft, Trick

METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get", "GETS", "PURGE",
    "M-SEARCH", "PRI", "X",
)  # fmt: skip
DOTS = (
    "..", ".", "%2e%2e", ".%2E", "%2e.", "%252e%252e", "..;", "..;a=b", "..%00", "..%20", "%2e%2e;", "...", "%c0%ae%c0%ae", "..%09",
)  # fmt: skip
SLASHES = (
    "/", "//", "///", "/./", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", "/;/", ";/", "/%20/", "%00/", "/%2e/", "%ef%bc%8f",
)  # fmt: skip
CUTS = (
    "?", "#", "%3f", "%23", ";", "%3b", "%00", "%0a", "%0d%0a", "%20", "%09", "&", ":", "@", "*", "|", "\t", "\x00", "\x7f", "\xe9",
)  # fmt: skip
TARGETS = (
    "http://{host}{path}", "HTTP://{host}{path}", "https://{host}{path}", "http://staff.test{path}", "http://unknown.test{path}",
    "http://{host}@staff.test{path}", "http://x@{host}{path}", "http://{host}:80{path}", "//{host}{path}", "http:{path}",
    "http:/{path}", "*", "{host}:80", "http://{host}?{path}", "http://{host}#{path}", "ftp://{host}{path}", "http://[::1]{path}",
    "http:////{path}", "{path} {path}", "{path}\t", " {path}", "http://{host}\\{path}",
)  # fmt: skip
QUERIES = ("?", "?a=1,2", "??", "?/../../denied/a", "?x=%00", "?_method=DELETE", "?a=b#c", "?%0d%0aRemote-User:1")
ODD_HOSTS = (
    "APP.test", "app.test.", "app.test:8000", "app.test:", "app.test..", "x@app.test", "app.test/x", "app.test#", "app.test?",
    "app.test,staff.test", "app.test staff.test", " app.test", "", "127.0.0.1", "app.test\x00", "app.test/open/",
    "staff.test/../app.test", "[::1]", "app%2etest", "app_test", "app.test:80:80", *HOSTS,
)  # fmt: skip


def climbs(draft: Draft) -> None:
    """From one area into another: `/open/../denied/a`, spelled in some way."""
    choice = draft.random.choice
    start, to = choice(AREAS).removesuffix("/a"), choice(AREAS).removeprefix("/")
    steps = choice(SLASHES) + choice(DOTS) + choice(SLASHES)
    deeper = choice(("", "/x", "/x/y" + choice(SLASHES) + choice(DOTS)))
    draft.path = start + deeper + steps * choice((1, 1, 1, 2)) + to


def begins_oddly(draft: Draft) -> None:
    start = draft.random.choice((*SLASHES, "/.", "/x/..", "/;a=b", "//app.test", "/%2e", ""))
    draft.path = start + draft.path.removeprefix("/")


def is_cut(draft: Draft) -> None:
    """An application may cut a path where a rule does not."""
    choice = draft.random.choice
    start, to, cut = choice(AREAS), choice(AREAS), choice(CUTS) + choice(("", "a=b", "/../.."))
    draft.path = choice((f"{start}{cut}{to}", f"{start}{cut}/..{to}", f"{start}/..{to}{cut}", f"{to}{cut}"))


def is_encoded(draft: Draft) -> None:
    """Percent-encode some characters, once or twice."""
    often = draft.random.choice((0.1, 0.5, 1))
    code = draft.random.choice(("%{:02x}", "%{:02X}", "%25{:02x}", "%u00{:02x}"))
    kept = draft.random.choice((1, 1, 1, 0))
    encoded = (code.format(ord(each)) if draft.random.random() < often else each for each in draft.path[kept:])
    draft.path = draft.path[:kept] + "".join(encoded)


def is_in_another_case(draft: Draft) -> None:
    change = draft.random.choice((str.upper, str.title, str.swapcase))
    draft.path = "/".join(change(part) if draft.random.random() < 0.7 else part for part in draft.path.split("/"))


def has_an_odd_character(draft: Draft) -> None:
    at = draft.random.randrange(len(draft.path) + 1)
    draft.path = draft.path[:at] + draft.random.choice((*CUTS, *SLASHES, *DOTS)) + draft.path[at:]


def goes_to_stateroom(draft: Draft) -> None:
    """By a path that the proxy may send to Stateroom, and the application may read as its own."""
    choice = draft.random.choice
    own = choice(("/.stateroom", "/.stateroom/login", "/.STATEROOM", "/%2estateroom", "/.stateroom;x", "/auth/forward"))
    steps = choice(SLASHES) + choice(DOTS) + choice(SLASHES)
    draft.path = own + steps * choice((0, 1, 2)) + choice(AREAS).removeprefix("/")


def has_an_odd_target(draft: Draft) -> None:
    """Absolute (RFC 9112, section 3.2.2), or no target at all."""
    draft.form = draft.random.choice(TARGETS)


def has_a_query(draft: Draft) -> None:
    draft.path += draft.random.choice(QUERIES)


def has_odd_hosts(draft: Draft) -> None:
    draft.hosts = draft.random.choices(ODD_HOSTS, k=draft.random.choices((0, 1, 2), (1, 4, 2))[0])
    if draft.random.random() < 0.3:
        draft.host = draft.random.choice(ODD_HOSTS)


def has_an_odd_method(draft: Draft) -> None:
    draft.method = draft.random.choice(METHODS)
    if draft.random.random() < 0.3 and draft.method not in {"GET", "HEAD", "CONNECT"}:
        draft.body = b"x=1"


TRICKS: Sequence[Trick] = (
    climbs, climbs, climbs, begins_oddly, is_cut, is_cut, is_encoded, is_in_another_case, has_an_odd_character, goes_to_stateroom,
    has_an_odd_target, has_a_query, has_odd_hosts, has_an_odd_method,
)  # fmt: skip
