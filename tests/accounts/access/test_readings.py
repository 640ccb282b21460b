"""The readings of a path contain what servers make of it, and no path takes long."""

from __future__ import annotations

import json
import posixpath
import subprocess
import unicodedata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Literal
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from stateroom.accounts.access.readings import MAX_CHARACTERS, MAX_READINGS, STEPS, folded, readings_of
from stateroom.errors import BadInput

from ...conftest import require_tool
from .examples import NOBODY, asked, disguised, rule, rules

CLOSED_FIRST = rules(rule("closed", allow=NOBODY, paths=["/admin/*", "/secret"]), rule("open"))

NEEDS_STEP = {
    "percent-decoded": "/static/..%2fadmin",
    "percent-decoded except slashes": "/static/%2e%2e/admin%2f..%2f..%2fstatic",
    "%u decoded": "/static/..%u002fadmin",
    "overlong UTF-8 decoded": "/static/..%c0%afadmin",
    "look-alike characters replaced": "/static/..%ef%bc%8fadmin",
    "control characters removed": "/static/.%09./admin",
    "cut at NUL": "/admin%00.css",
    "cut at ? or #": "/admin%3fx",
    "backslashes as slashes": "/static/..\\admin",
    "slashes merged": "//admin",
    "first segment as a host": "//static/admin",
    "parameters removed": "/static/..;a=1/admin",
    "cut at ;": "/secret;/x",
    "names as on Windows": "/admin./x",
    "dots resolved": "/static/../admin",
}
"""For each step a path that leads to the closed part by this step, and by no chain of other steps."""


def paths_of(target: str) -> set[str]:
    return {reading.path for reading in readings_of(target) if not reading.is_folded}


def outcome(path: str) -> str:
    try:
        found = CLOSED_FIRST.deciding(asked(path))
    except BadInput:
        return "refused"
    assert found is not None
    return found.name


def test_each_step_has_an_attack_that_needs_it() -> None:
    assert NEEDS_STEP.keys() == STEPS.keys()


@pytest.mark.parametrize("step", STEPS)
def test_an_attack_is_refused_because_of_its_step(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(NEEDS_STEP[step]) == "refused"
    monkeypatch.delitem(STEPS, step)
    assert outcome(NEEDS_STEP[step]) == "open"


ATTACKS = """
    /static/%2e%2e/admin /static/%2e%2e%2fadmin /static//../admin /static/..//admin /static/./../admin /./admin /ADMIN /%41dmin
    /admin%00 /admin%20 /admin. /admin/. /static/%252e%252e%252fadmin /static/..%255cadmin /static/%e0%80%ae%e0%80%ae/admin
    /static/%f0%80%80%ae./admin /static/%c0%ae%c0%ae%c0%afadmin /static/..\uff0fadmin /static/\uff0e\uff0e/admin
    /static/%u002e%u002e/admin /static/..;/admin /static/..;x=/y;/../admin /;/admin /admin;x /\\x/admin ///x/admin //x\\admin
    /admin::$DATA /admin:$i30:$INDEX_ALLOCATION/x /ad%E2%80%8Bmin /%u0041DMIN /static/..\u00a5admin /\u017fecret /SECRET /secret/
    /secret%2f /Secret/
"""


@pytest.mark.parametrize("path", ATTACKS.split())
def test_a_path_that_some_server_reads_as_closed_is_never_open(path: str) -> None:
    assert outcome(path) in {"refused", "closed"}


@pytest.mark.parametrize(
    "path",
    ["/", "/wiki/Main_Page", "/wiki/C%2B%2B", "/a%2Fb", "/v1/items:batch", "/@ada/~notes", "/f%C3%BCr/x%20y", "/a;b=1/c", "/a//b"],
)
def test_a_path_whose_readings_agree_is_admitted(path: str) -> None:
    assert outcome(path) == "open"


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/a/b/", "/a.b-c_d~e/1,2;"[:-1], "/wiki/Special:Search", "/x?a=/../admin;%00"]
)
def test_a_plain_path_has_one_reading(path: str) -> None:
    assert paths_of(path) == {path.partition("?")[0]}


def test_what_browsers_encode_is_no_reading_of_its_own() -> None:
    assert paths_of("/f%C3%BCr/%22x%20y%22") == paths_of('/für/"x y"') == {'/für/"x y"'}


def test_bytes_that_are_no_text_are_kept() -> None:
    assert "/caf\udce9" in paths_of("/caf%E9")


@pytest.mark.parametrize("path", ["", "x", "*", "http://app.example.com/", "?x", "\\admin", "/\ud800"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        list(readings_of(path))


@pytest.mark.parametrize(
    "core", ["/%2e%2e;x/", "/%252e;%5c", "/..;a%2f%3b", "//%u002e%3b", "/a%20./%2561", "/é:$", "%25", "/..", "//a", "/;"]
)
@pytest.mark.parametrize("times", [1, 10, 1000, 8000])
def test_the_readings_are_bounded(core: str, times: int) -> None:
    made: set[str] = set()
    try:
        made.update(reading.path for reading in readings_of(f"/x{core * times}") if not reading.is_folded)
    except BadInput:
        assert len(made) <= MAX_READINGS
    assert len(made) <= MAX_READINGS
    assert sum(map(len, made)) <= MAX_CHARACTERS or len(made) == 1


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0f73\u0f71", "\uff9e\u0301", "%CC%81%CC%A3"])
def test_marks_that_take_long_to_sort_are_refused_before_they_are_sorted(marks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    normalized: list[int] = []

    def normalize(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        normalized.append(len(text))
        return unicodedata.normalize(form, text)

    counted = SimpleNamespace(**vars(unicodedata) | {"normalize": normalize})
    monkeypatch.setattr("stateroom.accounts.access.readings.unicodedata", counted)
    with pytest.raises(BadInput):
        list(readings_of(f"/static/{marks * 2000}"))
    assert max(normalized) == 1


@given(st.text(alphabet=st.sampled_from("/.%;\\?#:$ abAB25ceCEfu0\0\t\uff0e\uff0f\u00fc"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_readings_are_closed_under_each_step(text: str) -> None:
    try:
        found = paths_of(f"/{text}")
    except BadInput:
        return
    for path in found:
        assert path.startswith("/")
        assert {step(path) for step in STEPS.values()} <= found


seeds = st.tuples(st.sampled_from(["/admin", "/admin/x", "/secret"]), st.integers(0, 10**6), st.integers(1, 4))


@given(seeds)
@settings(max_examples=400, deadline=None)
def test_no_disguise_of_a_closed_path_is_open(made: tuple[str, int, int]) -> None:
    assert outcome(disguised(*made)) != "open"


SERVERS: dict[str, Callable[[str], str]] = {
    "urllib": unquote,
    "urllib, normalised": lambda path: posixpath.normpath(unquote(path)),
    "normalised, urllib": lambda path: unquote(posixpath.normpath(path)),
    "urllib twice": lambda path: unquote(unquote(path)),
    "parsed as a URL": lambda path: unquote(str(urlsplit(path).path)),
    "yarl": lambda path: URL(f"http://x{path}", encoded=True).path,
    "yarl, normalised": lambda path: URL(f"http://x{path}").path,
    "no parameters": lambda path: posixpath.normpath("/".join(each.partition(";")[0] for each in unquote(path).split("/"))),
}


@given(
    st.one_of(seeds.map(lambda made: disguised(*made)), st.text(alphabet="/.%;25ecfEadminAD", max_size=30).map("/".__add__)),
    st.sampled_from(sorted(SERVERS)),
)
@settings(max_examples=300, deadline=None)
def test_an_open_path_is_no_closed_one_to_a_library_of_python(path: str, server: str) -> None:
    try:
        read = SERVERS[server](path.partition("?")[0])
    except ValueError:  # the library refuses the path
        return
    assert not leads_in(read) or outcome(path) != "open"


def leads_in(read: str) -> bool:
    """Whether a server that has read a path so serves something that is closed."""
    path = folded(read)
    return path in {"/secret", "/secret/"} or f"{path}/".startswith("/admin/")


def test_an_open_path_is_no_closed_one_to_node() -> None:
    paths = [
        disguised(path, seed, 1 + seed % 3).partition("?")[0] for seed in range(500) for path in ("/admin", "/secret", "/admin/x")
    ]
    program = (
        "const read = (p, f) => { try { return f(p); } catch { return null; } };"
        "const paths = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "const parsed = (p) => new URL(p, 'http://localhost').pathname;"
        "console.log(JSON.stringify(paths.map((p) => [parsed, (p) => decodeURIComponent(parsed(p)), decodeURIComponent,"
        "  (p) => require('path').posix.normalize(decodeURIComponent(p)), (p) => require('url').parse(p).pathname]"
        "  .map((f) => read(p, f)))))"
    )
    ended = subprocess.run(
        [require_tool("node"), "-e", program], input=json.dumps(paths), capture_output=True, text=True, timeout=60, check=True
    )
    closed = 0
    for path, read in zip(paths, json.loads(ended.stdout), strict=True):
        leads_in = [
            each for each in read if each and (folded(each.rstrip("/")) == "/secret" or f"{folded(each)}/".startswith("/admin/"))
        ]
        closed += bool(leads_in)
        assert not leads_in or outcome(path) != "open", (path, leads_in)
    assert closed > 100
