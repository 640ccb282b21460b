"""Which rule is for a request, and whom it admits."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stateroom.accounts.access.model import Allow, Asked, Need, Person
from stateroom.accounts.access.readings import folded
from stateroom.accounts.access.rules import Rule, Rules
from stateroom.addresses import parse_client
from stateroom.errors import AccessDenied, BadInput

from .examples import ANYONE, HOST, NOBODY, SIGNED_IN, asked, disguised, person, rule, rules, staff


def decided(found: Rules, request: Asked) -> str:
    """The name of the rule that decides, or what happens instead."""
    try:
        deciding = found.deciding(request)
    except AccessDenied:
        return "denied"
    except BadInput:
        return "refused"
    return "default" if deciding is None else deciding.name


WIKI = rules(
    rule("front", paths=["/", "/static/*"], methods=["GET", "HEAD"]),
    rule("office", paths=["/edit/*"], networks=["10.0.0.0/8", "2001:db8::/32"], allow=SIGNED_IN),
    rule("admins", paths=["/edit/*", "/admin/*"], allow=staff("admin")),
    rule("preflight", methods=["OPTIONS"]),
    default=SIGNED_IN,
)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (asked("/"), "front"),
        (asked("/?page=/admin/x"), "front"),
        (asked("/static"), "front"),
        (asked("/static/"), "front"),
        (asked("/static/css/site.css"), "front"),
        (asked("/statics"), "denied"),
        (asked("/static.css"), "denied"),
        (asked("/", method="HEAD"), "front"),
        (asked("/", method="get"), "front"),
        (asked("/", method="POST"), "denied"),
        (asked("/", method="OPTIONS"), "preflight"),
        (asked("/anything", method="options"), "preflight"),
        (asked("/static/x", method="BREW"), "denied"),
        (asked("/edit/1", address="10.1.2.3"), "office"),
        (asked("/edit/1", address="::ffff:10.1.2.3"), "office"),
        (asked("/edit/1", address="2001:db8::7"), "office"),
        (asked("/edit/1", address="192.0.2.1"), "admins"),
        (asked("/edit/1", address=None), "admins"),
        (asked("/edit/1", address="no address"), "admins"),
        (asked("/admin", method="DELETE"), "admins"),
        (asked("/other"), "denied"),
    ],
)
def test_the_first_rule_that_names_path_method_and_network_decides(request_: Asked, name: str) -> None:
    assert decided(WIKI, request_) == name


def test_head_is_not_get() -> None:
    assert decided(rules(rule("read", methods=["GET"])), asked(method="HEAD")) == "denied"


def test_who_asks_plays_no_part_in_which_rule_decides() -> None:
    found = rules(rule("staff only", allow=staff()), rule("everybody", allow=ANYONE))
    ruling = found.rule_for(asked())
    assert not ruling.is_open
    assert not ruling.admits(person("others"))


@pytest.mark.parametrize(
    "host",
    [HOST, HOST.upper(), f"{HOST}.", f"{HOST}:443", f"{HOST}:8443", f"{HOST}.:8443", f"{HOST}:"],
)
def test_every_spelling_of_a_host_is_for_the_same_rule(host: str) -> None:
    found = rules(rule("one", allow=staff()), default=SIGNED_IN)
    assert decided(found, asked(host=host)) == "one"


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a..b",
        ".",
        "a@b",
        "a/b",
        "a%2eb",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "1.2.3.0x4",
        "[::1",
        "a\\b",
        "a,b",
        "\u212a.x",
        "-a",
    ],
)
def test_a_host_that_servers_read_in_several_ways_is_refused(host: str) -> None:
    assert decided(rules(default=SIGNED_IN), asked(host=host)) == "refused"


def test_a_scheme_of_sockets_is_that_of_pages() -> None:
    assert rules(rule("one")).rule_for(asked(scheme="wss")).audience == f"https://{HOST}"


def test_a_wildcard_names_every_host_below_and_not_the_host_itself() -> None:
    found = rules(rule("below", hosts=[".wiki.example.com"]), default=SIGNED_IN)
    names = [decided(found, asked(host=f"{each}wiki.example.com")) for each in ("a.", "a.b.", "", "x")]
    assert names == ["below", "below", "default", "default"]


def test_addresses_are_hosts_in_their_usual_form() -> None:
    found = rules(rule("v6", hosts=["[2001:db8::1]"]), rule("v4", hosts=["192.0.2.1"]), default=NOBODY)
    assert decided(found, asked(host="[2001:DB8:0::1]:8080")) == "v6"
    assert decided(found, asked(host="192.0.2.1:80")) == "v4"


@pytest.mark.parametrize("default", [SIGNED_IN, NOBODY])
def test_the_default_is_for_hosts_that_no_rule_names(default: Allow) -> None:
    ruling = rules(rule("one"), default=default).rule_for(asked("/x", host="other.example.com"))
    assert not ruling.is_open
    assert ruling.admits(person()) is (default is SIGNED_IN)
    assert ruling.audience == "https://other.example.com"


@pytest.mark.parametrize(
    "request_", [Asked("", "https://x", "/", None), Asked("GET", "", "/", None), Asked("GET", "https://x", "", None)]
)
def test_a_request_that_is_not_told_completely_is_denied(request_: Asked) -> None:
    assert decided(rules(rule("one", hosts=["x"]), default=SIGNED_IN), request_) == "denied"


@pytest.mark.parametrize("path", ["*", "x", "https://app.example.com/x", "\\x"])
@pytest.mark.parametrize("host", [HOST, "other.example.com"])
def test_what_is_no_path_is_refused(path: str, host: str) -> None:
    assert decided(rules(rule("one"), default=SIGNED_IN), asked(path, host=host)) == "refused"


def test_a_rule_for_all_paths_is_for_odd_paths_too() -> None:
    odd = "/static/..%2f" + "%25" * 2000 + ";x//\\"
    assert decided(rules(rule("all")), asked(odd)) == "all"


def test_rules_of_other_methods_do_not_make_a_path_ambiguous() -> None:
    found = rules(rule("writes", paths=["/admin/*"], methods=["POST"]), rule("all"))
    assert decided(found, asked("/ADMIN")) == "all"
    assert decided(found, asked("/ADMIN", method="POST")) == "refused"


def test_an_exact_path_is_without_the_slash_at_its_end() -> None:
    found = rules(rule("one", paths=["/a", "/b/", "/c", "/c/"]), rule("rest"))
    names = [decided(found, asked(path)) for path in ("/a", "/a/", "/b/", "/b", "/c", "/c/", "/d", "/d/")]
    assert names == ["one", "refused", "one", "refused", "one", "one", "rest", "rest"]


@pytest.mark.parametrize(
    ("allow", "somebody", "is_admitted"),
    [
        (SIGNED_IN, person(), True),
        (NOBODY, person("admin", email="ada@example.com"), False),
        (staff("staff", "admin"), person("admin"), True),
        (staff(), person("Staff", "staffs"), False),
        (Allow(domains=frozenset(["example.com"])), person(email="ada@example.com"), True),
        (Allow(domains=frozenset(["example.com"])), person(email="Ada@EXAMPLE.com"), True),
        (Allow(domains=frozenset(["example.com"])), person(email="ada\uff20example.com"), True),
        (Allow(domains=frozenset(["example.com"])), person(email="ada@evil-example.com"), False),
        (Allow(domains=frozenset(["example.com"])), person(email="ada@a.example.com"), False),
        (Allow(domains=frozenset(["example.com"])), person(email="ada@example.com.evil.org"), False),
        (Allow(domains=frozenset(["example.com"])), person(), False),
        (Allow(addresses=frozenset(["ada@example.com"])), person(email="ADA@example.com"), True),
        (Allow(addresses=frozenset(["ada@example.com"])), person(email="adb@example.com"), False),
        (Allow(addresses=frozenset(["ada@example.com"]), groups=frozenset(["staff"])), person("staff", email="b@b.org"), True),
    ],
)
def test_a_user_is_admitted_by_group_or_verified_address(allow: Allow, somebody: Person, is_admitted: bool) -> None:
    assert rules(rule("one", allow=allow)).rule_for(asked()).admits(somebody) is is_admitted


def test_the_ruling_has_the_rules_need() -> None:
    need = Need(fresh_seconds=60, second_factor=True)
    found = Rules([Rule("till", rule("x").hosts, SIGNED_IN, need)], NOBODY)
    assert found.rule_for(asked()).need == need


@pytest.mark.parametrize(
    ("some", "path", "audience"),
    [
        ([rule("app", allow=SIGNED_IN)], "/", f"https://{HOST}"),
        ([rule("app")], "/", f"https://{HOST}"),
        ([rule("wiki", allow=staff(), paths=["/wiki/*"]), rule("till", allow=staff(), paths=["/till/*"])], "/wiki/", "wiki"),
        ([rule("wiki", allow=staff(), paths=["/wiki/*"]), rule("till", allow=staff(), paths=["/till/*"])], "/till/", "till"),
        ([rule("files", paths=["/files/*"]), rule("app", allow=SIGNED_IN)], "/x", f"https://{HOST}"),
        ([rule("files", paths=["/files/*"]), rule("app", allow=SIGNED_IN)], "/files/x", "files"),
        ([rule("shut", allow=NOBODY, paths=["/old/*"]), rule("app", allow=SIGNED_IN)], "/x", f"https://{HOST}"),
        ([rule("other", hosts=["other.example.com"], allow=SIGNED_IN), rule("app", allow=SIGNED_IN)], "/x", f"https://{HOST}"),
    ],
)
def test_an_assertion_for_one_application_is_not_for_another_on_the_host(some: list[Rule], path: str, audience: str) -> None:
    found = rules(*some)
    assert found.rule_for(asked(path, host=f"{HOST.upper()}.")).audience == audience
    assert found.may_be_audience(audience)


def test_an_audience_is_a_rules_name_or_an_origin_that_may_be_asked_for() -> None:
    found = rules(rule("wiki", hosts=[".example.com"]))
    assert [found.may_be_audience(each) for each in ("wiki", "https://a.example.com:8443", "stateroom", "https://other.org")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert rules(default=SIGNED_IN).may_be_audience("https://other.org")


names = st.sampled_from(["/", "/a", "/a/b", "/admin", "/admin/x", "/Admin", "/static/x", "/static", "/b/"])
patterns = st.sampled_from(["/", "/a", "/a/*", "/admin/*", "/admin", "/static/*", "/*", "/b/"])
some_rules = st.lists(
    st.builds(
        lambda number, paths, methods, networks, host: rule(
            f"rule {number}", hosts=[host], paths=paths, methods=methods, networks=networks, allow=staff(str(number))
        ),
        st.integers(0, 10**9),
        st.none() | st.lists(patterns, min_size=1, max_size=3),
        st.none() | st.lists(st.sampled_from(["GET", "POST"]), min_size=1),
        st.none() | st.lists(st.sampled_from(["10.0.0.0/8", "::/0"]), min_size=1),
        st.sampled_from([HOST, ".example.com", "other.example.com"]),
    ),
    max_size=5,
)
requests = st.builds(
    asked, names, method=st.sampled_from(["GET", "post", "PATCH"]), host=st.sampled_from([HOST, "other.example.com", "third.org"]),
    address=st.sampled_from([None, "10.1.1.1", "192.0.2.1", "::1"]),
)  # fmt: skip


def matches(pattern: str, path: str) -> bool:
    return path == pattern or (pattern.endswith("/*") and (path + "/").startswith(pattern[:-1]))


def expected(some: list[Rule], request: Asked, path: str) -> Rule | None:
    """The rule that the contract names, in other words than ours."""
    host = request.origin.removeprefix("https://")
    for each in some:
        if host not in each.hosts.exact and not any(host.endswith(end) for end in each.hosts.below):
            continue
        is_met = (each.methods is None or request.method.upper() in each.methods) and each.is_for_network(
            parse_client(request.address)
        )
        if is_met and (each.paths is None or any(matches(pattern, path) for pattern in each.paths.patterns)):
            return each
    return None


@given(some_rules, requests)
@settings(max_examples=200, deadline=None)
def test_the_first_match_decides_or_the_readings_disagree(some: list[Rule], request: Asked) -> None:
    name = decided(rules(*some, default=SIGNED_IN), request)
    wanted = expected(some, request, request.path)
    if name == "refused":  # another reading of the path, in another case or but for the last slash, has another rule
        others = {request.path.rstrip("/") or "/", request.path.rstrip("/") + "/"}
        lower = [rule_in_lower_case(each) for each in some]
        assert any(expected(some, request, other) is not wanted for other in others) or any(
            name_of(expected(lower, request, folded(other))) != name_of(wanted) for other in {request.path, *others}
        )
    elif name not in {"denied", "default"}:
        assert wanted is not None
        assert wanted.name == name
    else:
        assert wanted is None


def rule_in_lower_case(one: Rule) -> Rule:
    paths = None if one.paths is None else [folded(each) for each in one.paths.patterns]
    return rule(
        one.name, hosts=[*one.hosts.exact, *one.hosts.below], paths=paths, allow=one.allow,
        methods=None if one.methods is None else sorted(one.methods),
        networks=None if one.networks is None else [str(each) for each in one.networks],
    )  # fmt: skip


def name_of(one: Rule | None) -> str | None:
    return None if one is None else one.name


@given(some_rules, requests)
@settings(max_examples=200, deadline=None)
def test_a_host_that_a_rule_names_never_gets_the_default(some: list[Rule], request: Asked) -> None:
    host = request.origin.removeprefix("https://")
    is_named = any(host in each.hosts.exact or any(host.endswith(end) for end in each.hosts.below) for each in some)
    assert (decided(rules(*some, default=SIGNED_IN), request) == "default") is not is_named


@given(some_rules, requests, st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_no_form_of_a_path_has_another_rule_than_the_path_itself(some: list[Rule], request: Asked, seed: int, times: int) -> None:
    found = rules(*some, default=SIGNED_IN)
    path = disguised(request.path, seed, times)
    plain, other = decided(found, request), decided(found, Asked(request.method, request.origin, path, request.address))
    assert other in {plain, "refused"} or plain == "refused"


@given(some_rules, st.text(), st.text(), st.text(), st.none() | st.text())
@settings(max_examples=200, deadline=None)
def test_no_text_causes_another_error(some: list[Rule], method: str, host: str, path: str, address: str | None) -> None:
    for origin in (f"https://{host}", f"https://{HOST}", host):
        decided(rules(*some), Asked(method, origin, f"/{path}", address))


def calls_for(count: int, path: str) -> int:
    """How many functions are called to decide about a path, with so many rules of the host before the last one."""
    found = rules(*(rule(f"rule {number}", paths=[f"/{number}", f"/{number}/below/*"]) for number in range(count)), rule("rest"))
    assert decided(found, asked(path)) == "rest"  # What is kept is kept from here on.
    calls = 0

    def count_calls(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count_calls)
    try:
        found.deciding(asked(path))
    finally:
        sys.setprofile(None)
    return calls


def test_a_path_with_many_readings_takes_no_longer_if_there_are_many_rules() -> None:
    path = "/x" + "".join(f"%{'25' * times}2f" for times in range(1, 7))
    few, many = calls_for(10, path), calls_for(1000, path)
    assert few > 500, "it has many readings"
    assert many - few < 10 * 990, "each rule is looked at a few times, and not once for each reading"


def test_a_client_does_not_choose_how_much_is_remembered() -> None:
    found = rules(rule("all"))
    long = "x" * 300
    for request in (asked(f"/{long}"), asked(method=long), asked(f"/{long[:100]}", host=".".join(["x" * 60] * 3))):
        found.rule_for(request)
    assert found._remembered.cache_info().currsize == 0
    assert found.rule_for(asked("/x")).is_open
    assert found._remembered.cache_info().currsize == 1
