"""docs/settings.md and .env.example agree with the settings class and with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stateroom.app import SESSIONS_OF_A_USER
from stateroom.plurals import counted
from stateroom.settings import Address, CookiePlace, Settings
from stateroom.settings.durations import MAX_LIFETIME_SECONDS, _InSeconds, _InWholeSeconds
from stateroom.settings.implied import IMPLIED
from stateroom.settings.mail import MailServer
from stateroom.settings.values import _file

from ..documents import examples

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / ".env.example"
FIELDS = Settings.model_fields
NAMES = {name.upper() for name in FIELDS}
LINE = re.compile(r"^#([A-Z_]+)=(.*)$", re.MULTILINE)
HEADER = ["name", "value", "default", "used by", "meaning"]
UNITS = {"SESSION_MAX_BYTES": "bytes", "HEADER_MAX_BYTES": "bytes", "PASSWORD_MIN_LENGTH": "characters"}
"""The units of numbers that are not plain numbers and not durations."""

A_KEY = "A" * 43
PRODUCTION: dict[str, Any] = {"cookie_keys": A_KEY, "database_url": "none"}
IMPLIED_CASES: dict[str, list[dict[str, Any]]] = {
    "REDIS_MODE": [
        {},
        {"redis_host": "redis", **PRODUCTION},
        {"redis_sentinels": "a:1", **PRODUCTION},
        {"redis_cluster_nodes": "a:1", **PRODUCTION},
    ],
    "METRICS_HOST": [{"metrics_port": 9000}, {"host": "0.0.0.0"}],
    "METRICS_PORT": [{"metrics_host": "127.0.0.1"}, {"host": "0.0.0.0"}],
    "REDIS_WRITE_REPLICAS": [{}, {"redis_sentinels": "a:1", **PRODUCTION}],
    "SESSION_RENEW_INTERVAL": [{}, {"session_max_age": 5000}],
    "DEGRADED_MAX_AGE": [{}],
    "DEPLOYMENT": [{"public_url": "https://example.com"}],
    "PUBLIC_URL": [{}],
    "MAIL_URL": [{}],
    "MAIL_FROM": [{}],
    "EMAIL_VERIFICATION": [
        {},
        {"redis_host": "redis", "mail_url": "file:mails", "public_url": "https://example.com", **PRODUCTION},
    ],
    "SESSION_NAME": [
        {},
        {"redis_host": "redis", **PRODUCTION},
        {"redis_host": "redis", "cookie_domain": "example.com", **PRODUCTION},
        {"redis_host": "redis", "cookie_path": "/app", **PRODUCTION},
    ],
}
"""Settings, by a setting whose default they imply. The page names the default of each case."""


class Row(NamedTuple):
    topic: str
    name: str
    value: str
    default: str
    used_by: str
    meaning: str


def rows() -> Iterator[Row]:
    topic = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        topic = line.removeprefix("## ") if line.startswith("## ") else topic
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == len(HEADER):
            yield Row(topic, cells[0].strip("`"), *cells[1:])


ROWS = {row.name: row for row in rows()}


def listed() -> dict[str, str]:
    return dict(LINE.findall(EXAMPLE.read_text(encoding="utf-8")))


def written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def plain(text: str) -> str:
    """Without backticks and links."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


def kinds_of(name: str) -> set[str]:
    """What the value cell of a setting may be, by its type."""
    field = FIELDS[name.lower()]
    type_, metadata = bare(field.annotation)
    metadata += field.metadata
    if get_origin(type_) is Literal:
        *some, last = (f"`{each}`" for each in get_args(type_))
        return {f"{', '.join(some)} or {last}"}
    if get_origin(type_) is tuple:
        kinds = {
            Address: "`host:port`",
            CookiePlace: "places",
            SecretStr: "secrets",
            str: "origins" if "ORIGIN" in name else "hosts",
        }
        return {f"list of {kinds.get(bare(get_args(type_)[0])[0], 'networks')}"}
    if type_ in {int, float}:
        return {number(UNITS.get(name, "number"), metadata)}
    if type_ is Path:
        return {"file" if any(getattr(each, "func", None) is _file for each in metadata) else "folder"}
    return {
        bool: {"true or false"},
        SecretStr: {"secret"},
        str: {"text", "host", "URL", "path or URL", "file or `off`"},
        MailServer: {"secret"},
    }[type_]


def bare(annotation: Any) -> tuple[Any, list[Any]]:
    """A type without `Annotated` and without None, and its metadata."""
    if get_origin(annotation) in {Union, UnionType}:
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Annotated:
        type_, *metadata = get_args(annotation)
        return type_, [each for one in metadata for each in (one.metadata if isinstance(one, FieldInfo) else [one])]
    return annotation, []


def number(unit: str, metadata: list[Any]) -> str:
    """The unit of a number and its bounds."""
    bounds = {key: getattr(each, key) for each in metadata for key in ("ge", "le") if hasattr(each, key)}
    if _InSeconds in metadata:
        unit = "seconds"
    if _InWholeSeconds in metadata:
        unit = "whole seconds"
    if bounds.get("le") == MAX_LIFETIME_SECONDS:  # the page says it once, under "Durations"
        del bounds["le"]
    if "ge" in bounds:
        return f"{unit} from {bounds['ge']}" + (f" to {bounds['le']}" if "le" in bounds else "")
    return f"{unit}, at most {bounds['le']}" if "le" in bounds else unit


def in_words(name: str) -> str:
    """The default of a long duration in the longest unit that gives a whole number, in brackets. Else an empty text."""
    default = FIELDS[name.lower()].default
    if not ROWS[name].value.startswith("whole seconds") or default % 60:
        return ""
    length, unit = next((length, unit) for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")) if not default % length)
    return f" ({counted(default // length, unit)})"


class TestPage:
    def test_it_has_every_setting_once_and_no_other(self) -> None:
        assert sorted(row.name for row in rows()) == sorted(NAMES)

    def test_every_table_has_the_same_columns(self) -> None:
        tables = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| name |")]
        assert set(tables) == {f"| {' | '.join(HEADER)} |"}
        assert len(tables) == len({row.topic for row in rows()})

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_the_value_is_of_the_type_in_the_unit_and_within_the_bounds_of_the_class(self, name: str) -> None:
        assert ROWS[name].value in kinds_of(name)

    def test_the_longest_duration_is_that_of_the_class(self) -> None:
        assert f"{MAX_LIFETIME_SECONDS // 86400} days" in PAGE.read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_the_default_is_that_of_the_class(self, name: str) -> None:
        shown, default = ROWS[name].default, FIELDS[name.lower()].default
        is_implied = name.lower() in IMPLIED
        if default in (None, ()) or (is_implied and name != "DEGRADED_MAX_AGE"):
            assert shown.startswith("unset: ")
        elif default == "":
            assert shown == "empty"
        elif name == "SESSION_MAX_PER_USER":
            assert shown == f"`{default}`; in the service `{SESSIONS_OF_A_USER}`"
        elif is_implied:
            assert shown.startswith(f"`{default}`{in_words(name)}, or ")
        else:
            assert shown == f"`{written(default)}`{in_words(name)}"

    @pytest.mark.parametrize("name", sorted(name.upper() for name in IMPLIED))
    def test_an_implied_default_is_named(self, name: str) -> None:
        if name.startswith("REDIS_SENTINEL_TLS"):
            assert ROWS[name].default == f"unset: the value of `{name.replace('REDIS_SENTINEL', 'REDIS')}`"
            return
        for case in IMPLIED_CASES[name]:
            value = getattr(Settings(**case), name.lower())
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            assert f"`{shown}`" in ROWS[name].default

    def test_only_the_service_uses_what_no_part_of_the_library_reads(self) -> None:
        """The library is what `stateroom.setup` is made of; accounts, API and pages are the service's."""
        package = ROOT / "src" / "stateroom"
        parts = ["setup.py", "database", "backend", "request", "sessions"]
        files = [file for part in parts for file in ([package / part] if part.endswith(".py") else (package / part).rglob("*.py"))]
        library = "\n".join(file.read_text(encoding="utf-8") for file in files)
        used = {name for name in NAMES if re.search(rf"settings\.{name.lower()}\b", library)}
        assert {name: row.used_by for name, row in ROWS.items()} == {name: "both" if name in used else "service" for name in ROWS}

    def test_it_names_no_setting_that_is_none(self) -> None:
        named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)", PAGE.read_text(encoding="utf-8")))
        examples = {"NAME_FILE", "REDIS_HSOT", "REDIS_SSL", "REDIS_0_PORT"}
        assert {name if name in NAMES else name.removesuffix("_FILE") for name in named - examples} <= NAMES
        assert examples <= named


class TestBlocks:
    def test_the_lists_are_read_from_dotenv(self) -> None:
        proxies, sentinels, _ = examples("settings.md", "sh")
        Path(".env").write_text(f"{proxies}\n{sentinels}\n", encoding="utf-8")
        settings = Settings(**PRODUCTION)
        assert [str(each) for each in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
        assert settings.redis_sentinels == tuple(Address(f"10.0.0.{number}", 26379) for number in (1, 2, 3))

    def test_a_key_is_added_to_a_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        *_, add = examples("settings.md", "sh")
        Path("cookie_keys").write_text(f"{A_KEY}\n", encoding="utf-8")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["sh", "-ec", add], check=True, env={**os.environ, "PATH": path})
        monkeypatch.setenv("COOKIE_KEYS_FILE", "cookie_keys")
        first, second = Settings().cookie_keys
        assert first.get_secret_value() == A_KEY != second.get_secret_value()


class TestExample:
    def test_it_has_the_settings_of_the_page_in_the_order_of_the_page(self) -> None:
        text = EXAMPLE.read_text(encoding="utf-8")
        found = re.findall(r"^#([A-Z_]+)=|^# ---- (.+) ----$", text, re.MULTILINE)
        expected: list[tuple[str, str]] = []
        for row in rows():
            if ("", row.topic) not in expected:
                expected.append(("", row.topic))
            expected.append((row.name, ""))
        assert found == expected

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_it_gives_the_default(self, name: str) -> None:
        text, default = listed()[name], FIELDS[name.lower()].default
        if default is None or default == () or (text == "" and name.lower() in IMPLIED):
            assert text == ""
        else:
            assert text == written(default)

    @pytest.mark.parametrize("name", sorted(NAMES - {"REDIS_HOST", "REDIS_PORT"}))
    def test_taking_the_mark_off_a_line_changes_nothing(self, name: str) -> None:
        Path(".env").write_text(f"{name}={listed()[name]}\n", encoding="utf-8")
        assert Settings() == Settings(_env_file=None)

    def test_it_says_of_each_setting_what_the_page_says_first(self) -> None:
        lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
        said = {found[1]: before for before, line in pairwise(lines) if (found := LINE.match(line))}
        assert said == {row.name: comment(row) for row in rows()}


def comment(row: Row) -> str:
    """The line over a setting in the example: the beginning of its meaning, its value, and its default if that is implied."""
    first, *more = plain(row.meaning).split(". ")
    meaning = f"{first}. {more[0]}" if more and more[0].startswith("For example") else first
    default = f"; {plain(row.default)}" if row.default.startswith("unset: ") else ""
    return f"# {meaning} ({plain(row.value)}{default})"
