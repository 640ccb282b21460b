"""The rules of a process: from its settings, and again from their file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stateroom.accounts.access import Access, Asked, Person, doors_for_strangers, hidden_rules
from stateroom.errors import AccessDenied, SettingsError
from stateroom.settings import Settings, SettingsFiles

SOMEBODY = Person(7, "", frozenset())


def for_group(name: str) -> str:
    return f"- name: one\n  hosts: [app.example.com]\n  allow: {{groups: [{name}]}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(for_group("first"))
    return path


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def admits(access: Access, *groups: str, host: str = "app.example.com") -> bool:
    return access.rule_for(Asked("GET", f"https://{host}", "/", None)).admits(Person(7, "", frozenset(groups)))


def test_without_settings_nobody_is_admitted_and_both_settings_are_named() -> None:
    access = Access(settings())
    assert not access.is_configured
    with pytest.raises(AccessDenied, match=r"ACCESS_RULES_FILE.*ACCESS_DEFAULT"):
        access.rule_for(Asked("GET", "https://app.example.com", "/", None))


def test_the_default_alone_is_a_configuration() -> None:
    assert admits(Access(settings(access_default="signed-in")))
    nobody = Access(settings(access_default="nobody"))
    assert nobody.is_configured
    assert not admits(nobody)


def test_a_file_alone_leaves_other_hosts_to_nobody(file: Path) -> None:
    access = Access(settings(access_rules_file=file))
    assert admits(access, "first")
    assert not admits(access, "first", host="other.example.com")


def test_a_changed_file_is_read_again_and_a_wrong_one_keeps_the_rules(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = settings(access_rules_file=file)
    access, files = Access(chosen), SettingsFiles(chosen)
    files.on_change("access_rules_file", access.read_again)

    def look() -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO", logger="stateroom"):
            files.look()
        return [record.message for record in caplog.records]

    assert look() == []
    file.write_text(for_group("second"))
    [told] = look()
    assert told == "settings_files_read settings=['ACCESS_RULES_FILE']"
    assert (admits(access, "first"), admits(access, "second")) == (False, True)

    file.write_text(for_group("[third"))
    [told] = look()
    assert told.startswith("settings_files_kept settings=['ACCESS_RULES_FILE'] reason=")
    assert f"ACCESS_RULES_FILE: {file}, line 3: this is not YAML" in told
    assert admits(access, "second")
    assert look() == []

    file.unlink()
    [told] = look()
    assert "cannot be read: No such file" in told
    assert admits(access, "second")

    other = file.with_suffix(".next")
    other.write_text(for_group("fourth"))
    os.replace(other, file)
    [told] = look()
    assert told.startswith("settings_files_read")
    assert (admits(access, "second"), admits(access, "fourth")) == (False, True)


@pytest.mark.parametrize("audience", ["one", "https://app.example.com", "http://APP.example.com:8080"])
def test_an_audience_of_assertions_is_none_of_access_tokens(file: Path, audience: str) -> None:
    with pytest.raises(SettingsError, match=r"^JWT_AUDIENCE: "):
        Access(settings(access_rules_file=file, jwt_audience=audience))
    Access(settings(access_rules_file=file, jwt_audience="https://other.example.com"))


@pytest.mark.parametrize(
    ("allow", "chosen", "doors"),
    [
        ("anyone", {}, []),
        ("{groups: [staff]}", {}, []),
        ("signed-in", {}, ["one"]),
        ("signed-in", {"registration": "invited"}, []),
        ("{groups: [staff]}", {"access_default": "signed-in"}, ["ACCESS_DEFAULT=signed-in"]),
        ("{groups: [staff]}", {"access_default": "signed-in", "registration": "closed"}, []),
        ("{emails: ['*@example.com'], users: [ada@example.org]}", {"email_verification": "off"}, []),
    ],
)
def test_doors_for_whoever_registers_are_found(file: Path, allow: str, chosen: dict[str, Any], doors: list[str]) -> None:
    file.write_text(f"- name: one\n  hosts: [app.example.com]\n  allow: {allow}\n")
    assert list(doors_for_strangers(settings(access_rules_file=file, **chosen))) == doors


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ("hosts: [app.example.com]", "hosts: [app.example.com], paths: [/admin/*]", True),
        ("hosts: [app.example.com], paths: ['/*']", "hosts: [app.example.com], methods: [OPTIONS]", True),
        ("hosts: ['*.example.com']", "hosts: [app.example.com, '*.wiki.example.com']", True),
        ("hosts: [app.example.com]", "hosts: [app.example.com, wiki.example.com]", False),
        ("hosts: ['*.example.com']", "hosts: [example.com]", False),
        ("hosts: ['*.wiki.example.com']", "hosts: ['*.example.com']", False),
        ("hosts: [app.example.com], paths: [/admin/*]", "hosts: [app.example.com], paths: [/admin/*]", False),
        ("hosts: [app.example.com], methods: [GET]", "hosts: [app.example.com]", False),
        ("hosts: [app.example.com], networks: [10.0.0.0/8]", "hosts: [app.example.com]", False),
    ],
)
def test_a_rule_that_never_decides_is_found(file: Path, first: str, second: str, is_hidden: bool) -> None:
    file.write_text("".join(f"- {{name: {name}, allow: nobody, {keys}}}\n" for name, keys in (("one", first), ("two", second))))
    found = ["two (line 2) after one (line 1)"] if is_hidden else []
    assert list(hidden_rules(settings(access_rules_file=file))) == found
