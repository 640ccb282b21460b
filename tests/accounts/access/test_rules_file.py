"""The rules file: what it may say, and each mistake with its line and its fix."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from stateroom.accounts.access import strict_yaml
from stateroom.accounts.access.model import Allow, Need
from stateroom.accounts.access.rules import Rule, Rules
from stateroom.accounts.access.rules_file import read_rules
from stateroom.addresses import parse_network
from stateroom.errors import SettingsError

from ...documents import examples
from .examples import asked

EXAMPLE = """
- name: public status page
  hosts: [status.example.com]
  allow: anyone
- name: the office's wiki
  hosts: ["*.wiki.example.com"]
  paths: ["/", "/static/*"]
  methods: [GET, HEAD]
  networks: [10.0.0.0/8]
  allow: {groups: [staff], emails: ["*@Example.com", bob@example.net], users: [Ada@example.org]}
- name: the till
  hosts: [till.example.com]
  allow: {groups: [finance]}
  need: {second_factor: true, fresh: 15m}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def read(file: Path, text: str | bytes) -> list[Rule]:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_rules(file))


def fault(file: Path, text: str | bytes) -> tuple[int, str]:
    """The line and the rest of the error, which is one line."""
    with pytest.raises(SettingsError) as raised:
        read(file, text)
    [message] = str(raised.value).splitlines()
    beginning = f"ACCESS_RULES_FILE: {file}, line "
    assert message.startswith(beginning)
    line, _, what = message.removeprefix(beginning).partition(": ")
    assert ";" in what, "each fault has its fix"
    return int(line), what


def test_the_example_is_read(file: Path) -> None:
    status, wiki, till = read(file, EXAMPLE)
    assert [(each.name, each.line) for each in (status, wiki, till)] == [
        ("public status page", 2), ("the office's wiki", 5), ("the till", 11),
    ]  # fmt: skip
    assert (status.allow, status.paths, status.methods, status.networks, status.need) == (
        Allow(anyone=True),
        None,
        None,
        None,
        Need(),
    )
    assert wiki.hosts.name("a.wiki.example.com")
    assert not wiki.hosts.name("wiki.example.com")
    assert wiki.paths is not None
    assert wiki.paths.patterns == ("/", "/static/*")
    assert wiki.methods == frozenset(["GET", "HEAD"])
    assert wiki.networks == (parse_network("10.0.0.0/8"),)
    assert wiki.allow == Allow(
        groups=frozenset(["staff"]), addresses=frozenset(["bob@example.net", "ada@example.org"]), domains=frozenset(["example.com"])
    )
    assert till.need == Need(fresh_seconds=900, second_factor=True)


def one(**changed: str) -> str:
    """A rule with some values, each as YAML. An empty value leaves the key out."""
    values = {"name": "wiki", "hosts": "[wiki.example.com]", "allow": "anyone"} | changed
    return "- " + "\n  ".join(f"{key}: {value}" for key, value in values.items() if value) + "\n"


@pytest.mark.parametrize(
    ("word", "allow"), [("anyone", Allow(anyone=True)), ("signed-in", Allow(signed_in=True)), ("nobody", Allow())]
)
def test_allow_may_be_a_word(file: Path, word: str, allow: Allow) -> None:
    [found] = read(file, one(allow=word))
    assert found.allow == allow


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("1h", 3600), ("90", 90), ("1.5", 1.5), ("1000ms", 1), ('"30s"', 30), ("1 d", 86400)]
)
def test_fresh_is_a_duration_as_in_the_settings(file: Path, text: str, seconds: float) -> None:
    [found] = read(file, one(allow="signed-in", need=f"{{fresh: {text}}}"))
    assert found.need == Need(fresh_seconds=seconds)


def test_a_need_may_be_false(file: Path) -> None:
    [found] = read(file, one(allow="signed-in", need="{second_factor: false, device_bound: true}"))
    assert found.need == Need(device_bound=True)


@pytest.mark.parametrize("written", ["/für/*", "/f%C3%BCr/*", "/f%c3%bcr/*"])
def test_a_path_may_be_written_as_people_or_as_browsers_write_it(file: Path, written: str) -> None:
    rules = Rules(read(file, one(paths=f'["{written}"]')), Allow())
    for sent in ("/f%C3%BCr/x", "/für/x", "/f%c3%bcr/"):
        assert rules.rule_for(asked(sent, host="wiki.example.com")).is_open


def test_hosts_are_compared_in_one_form(file: Path) -> None:
    [found] = read(
        file, one(hosts='[WIKI.example.com., "[2001:DB8:0::1]", "::1", "*.A.example", 192.0.2.1, localhost, a_b.example]')
    )
    assert found.hosts.exact == {"wiki.example.com", "[2001:db8::1]", "[::1]", "192.0.2.1", "localhost", "a_b.example"}
    assert found.hosts.below == (".a.example",)


WRONG = {
    one(name=""): (1, "the rule has no name"),
    one(hosts=""): (1, "the rule has no hosts"),
    one(allow=""): (1, "the rule has no allow"),
    one(host="[a]"): (4, "a rule has no key 'host'; its keys are name, hosts, paths,"),
    one() + "  name: again\n": (4, "name is there twice"),
    one() + one(): (4, "the rule of line 1 has the name 'wiki' too"),
    one(name="no"): (1, "name is 'no', which is no text in YAML; write it in quotes"),
    one(name="42"): (1, "name is '42'"),
    one(name="2026-11-30"): (1, "name is '2026-11-30'"),
    one(name="~"): (1, "name is '~'"),
    one(name="' '"): (1, "name must have 1 to 100 printable characters"),
    one(name="x" * 101): (1, "name must have 1 to 100 printable characters"),
    one(name='"a\\nb"'): (1, "name must have"),
    one(name="https://wiki.example.com"): (1, "name must have"),
    one(name="[a]"): (1, "name must be a text"),
    one(hosts="wiki.example.com"): (2, "hosts must be a list"),
    one(hosts="[]"): (2, "hosts is empty"),
    one(hosts="[*.example.com]"): (2, 'a text that begins with * must be in quotes; write for example "*.example.com"'),
    one(hosts="['*x.example.com']"): (2, "'*x.example.com' in hosts must have * only as the first label"),
    one(hosts="['a.*.example.com']"): (2, "must have * only as the first label"),
    one(hosts="['*']"): (2, "is for every host"),
    one(hosts="['x.example.com:8443']"): (2, "must be a host without a port"),
    one(hosts="['[::1]:80']"): (2, "must be a host without a port"),
    one(hosts="['https://x.example.com']"): (2, "must be a host without a scheme"),
    one(hosts="[x.example.com/a]"): (2, "must be a host without a scheme and a path"),
    one(hosts="[.example.com]"): (2, "is not a host"),
    one(hosts="[a b]"): (2, "is not a host"),
    one(hosts="[bücher.example]"): (2, "is not in ASCII"),
    one(hosts="['*.192.0.2.1']"): (2, "is an address"),
    one(hosts="['127.1']"): (2, "is not a host"),
    one(hosts="['[fe80::1%eth0]']"): (2, "is not a host"),
    one(hosts="['fe80::1%25eth0']"): (2, "is not a host"),
    one(hosts="[on]"): (2, "an item of hosts is 'on', which is no text in YAML"),
    one(paths="/x"): (4, "paths must be a list"),
    one(paths="[]"): (4, "paths is empty"),
    one(paths="[x]"): (4, "'x' in paths must begin with /"),
    one(paths="['/x*']"): (4, "must have * only at the end, after a slash"),
    one(paths="['/*/x']"): (4, "must have * only at the end, after a slash"),
    one(paths="['/**']"): (4, "must have * only at the end, after a slash"),
    one(paths="['/x?a=1']"): (4, "must not have a query"),
    one(paths="['/a/../b']"): (4, "can be read in several ways"),
    one(paths="['/a//b']"): (4, "can be read in several ways"),
    one(paths="['/a//*']"): (4, "can be read in several ways"),
    one(paths="['/a%2fb']"): (4, "can be read in several ways"),
    one(paths="['/a;b']"): (4, "can be read in several ways"),
    one(paths="['/a\\b']"): (4, "can be read in several ways"),
    one(paths="['/a.']"): (4, "can be read in several ways"),
    one(paths=f"['/%{'25' * 100}']"): (4, "cannot be used, because the path can be read in too many ways"),
    one(methods="GET"): (4, "methods must be a list"),
    one(methods="[]"): (4, "methods is empty"),
    one(methods="[G ET]"): (4, "'G ET' in methods is not a method"),
    one(methods="['*']"): (4, "'*' in methods is not a method"),
    one(networks="[10.0.0.1/8]"): (4, "'10.0.0.1/8' in networks is not a network"),
    one(networks="[office]"): (4, "'office' in networks is not a network"),
    one(networks="[]"): (4, "networks is empty"),
    one(allow="no"): (3, "allow is 'no'; write anyone, signed-in, nobody"),
    one(allow="everyone"): (3, "allow is 'everyone'; write anyone, signed-in, nobody"),
    one(allow="[staff]"): (3, "allow must be a mapping"),
    one(allow="{}"): (3, "allow is empty"),
    one(allow="{group: [staff]}"): (3, "allow has no key 'group'; its keys are groups, emails, users"),
    one(allow="{groups: []}"): (3, "groups is empty"),
    one(allow="{groups: staff}"): (3, "groups must be a list"),
    one(allow="{groups: [Staff]}"): (3, "'Staff' in groups is not a group"),
    one(allow="{groups: [yes]}"): (3, "an item of groups is 'yes'"),
    one(allow="{emails: [example.com]}"): (3, "'example.com' in emails is not an email address"),
    one(allow="{emails: ['*example.com']}"): (3, "must have * only in place of all before the @"),
    one(allow="{emails: ['*@*.example.com']}"): (3, "must have * only in place of all before the @"),
    one(allow="{emails: ['*@']}"): (3, "is not an email address"),
    one(allow="{users: ['*@example.com']}"): (3, "must have * only in place of all before the @, and only in emails"),
    one(allow="{users: [ada]}"): (3, "'ada' in users is not an email address"),
    one(need="{fresh: 15m}"): (4, "need is about a sign-in, and this rule asks for none"),
    one(allow="nobody", need="{fresh: 15m}"): (4, "need is about a sign-in, and this rule asks for none"),
    one(allow="signed-in", need="{}"): (4, "need is empty"),
    one(allow="signed-in", need="fresh"): (4, "need must be a mapping"),
    one(allow="signed-in", need="{mfa: true}"): (4, "need has no key 'mfa'; its keys are second_factor, fresh, device_bound"),
    one(allow="signed-in", need="{fresh: soon}"): (4, "fresh is 'soon', which is no time"),
    one(allow="signed-in", need="{fresh: 0}"): (4, "fresh is '0', which is no time"),
    one(allow="signed-in", need="{fresh: -1m}"): (4, "fresh is '-1m', which is no time"),
    one(allow="signed-in", need="{fresh: 15:00}"): (4, "fresh is '15:00', which is no time"),
    one(allow="signed-in", need="{fresh: 999ms}"): (
        4,
        "fresh is '999ms', too short to enter a password and come back; write 1s or more",
    ),
    one(allow="signed-in", need="{fresh: 0.5}"): (
        4,
        "fresh is '0.5', too short to enter a password and come back; write 1s or more",
    ),
    one(allow="signed-in", need="{fresh: .inf}"): (4, "fresh is '.inf', which is no time"),
    one(allow="signed-in", need="{second_factor: on}"): (4, "second_factor must be true or false"),
    one(allow="signed-in", need="{device_bound: 1}"): (4, "device_bound must be true or false"),
    "": (1, "the file is empty"),
    "# nothing\n": (1, "the file is empty"),
    "[]": (1, "the file is empty"),
    "rules:\n  - name: wiki\n": (1, "the file must be a list"),
    "- wiki\n": (1, "a rule must be a mapping"),
    one() + "---\n" + one(): (4, "a second document begins here"),
    "- &wiki\n  name: a\n": (1, "& and * name and repeat a part of a file"),
    one() + "- *wiki\n": (4, "& and * name and repeat a part of a file"),
    one() + "- <<: {name: b}\n": (4, "a key of a rule is '<<'"),
    one() + "\t- name: b\n": (4, "this is not YAML"),
    one() + "- {name: 'b}\n": (5, "this is not YAML"),
    one() + "- name: b\x07\n": (4, "this character is not allowed in YAML"),
}


@pytest.mark.parametrize("text", WRONG, ids=[what for _, what in WRONG.values()])
def test_a_mistake_is_named_with_its_line_and_its_fix(file: Path, text: str) -> None:
    line, what = fault(file, text)
    assert (line, WRONG[text][1] in what) == (WRONG[text][0], True), (line, what)


def test_a_later_rule_is_named_by_its_line(file: Path) -> None:
    text = EXAMPLE + textwrap.dedent("""
        - name: last
          hosts:
            - a.example.com
            - b.example.com:80
          allow: anyone
    """)
    assert fault(file, text)[0] == 1 + text[: text.index("b.example.com:80")].count("\n")


def test_bytes_that_are_not_utf_8_are_named_by_their_line(file: Path) -> None:
    assert fault(file, one().encode() + b"# caf\xe9\n") == (4, "this is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 100_000, "a: " * 1000, "{a: " * 10_000, one() + "#" * strict_yaml.MAX_BYTES], ids=range(5)
)
@pytest.mark.timeout(20)
def test_a_monstrous_file_is_refused_soon(file: Path, text: str) -> None:
    fault(file, text)


def test_repetitions_that_would_grow_without_end_are_refused_before_they_grow(file: Path) -> None:
    bomb = "- &a0 [x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    assert "& and * name and repeat" in fault(file, bomb)[1]


def test_tags_build_nothing(file: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    line, _ = fault(file, one(name=f'!!python/object/apply:os.mkdir ["{made}"]'))
    assert (line, made.exists()) == (1, False)


@pytest.mark.parametrize("text", [EXAMPLE, *list(WRONG)[:80:7]], ids=lambda text: repr(text[:40]))
def test_a_build_without_libyaml_reads_the_same(file: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def told() -> object:
        try:
            return [(each.name, each.line, each.allow, each.need) for each in read(file, text)]
        except SettingsError as error:
            return str(error)

    fast = told()
    monkeypatch.setattr(strict_yaml, "_Loader", yaml.SafeLoader)
    assert told() == fast


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="larger than"):
        read_rules(Path("/dev/zero"))


PAGE = Path(__file__).parents[3] / "docs" / "access-rules.md"


def test_the_examples_of_the_page_are_read(file: Path) -> None:
    names = [each.name for text in examples(PAGE.name, "yaml") for each in read(file, text)]
    assert names == ["public status page", "the office's wiki", "the till", "preflights of the API"]


def test_the_page_shows_the_error_of_a_wrong_file(file: Path) -> None:
    line, what = fault(file, one(allow="no"))
    assert f"/etc/stateroom/rules.yaml, line {line}: {what}`" in PAGE.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ACCESS_RULES_FILE: .*gone.yaml cannot be read: No such file"):
        read_rules(tmp_path / "gone.yaml")
