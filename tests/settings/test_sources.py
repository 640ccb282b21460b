"""Where values come from: code, the environment, files that NAME_FILE names, `.env`, in this order."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import get_origin

import pytest
from pydantic import SecretStr

from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

from .test_each_setting import refusal

SECRET = "hunter2-correct-horse"
KEY_OF_TOKENS = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(32)).decode()


def dotenv(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def test_the_environment_beats_dotenv_and_code_beats_both(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("PORT=9001\nHOST=::1\n")
    monkeypatch.setenv("PORT", "9002")
    assert (Settings().host, Settings().port) == ("::1", 9002)
    assert Settings(port=9003).port == 9003


def test_dotenv_may_hold_what_is_not_ours() -> None:
    dotenv("# a comment\nCOMPOSE_PROJECT_NAME=shop\nSESSION_MAX_AGE=1800\n")
    assert Settings().session_max_age == 1800


@pytest.mark.parametrize("name", ["REDIS_PASSWORD", "redis_password"])
def test_names_count_in_any_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    password = Settings().redis_password
    assert password is not None
    assert password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("name", "text", "expected"), [("REDIS_MODE", "Sentinel", "redis_mode"), ("LOG_LEVEL", "INFO", "log_level")]
)
def test_words_count_in_any_case(name: str, text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SENTINELS", "10.0.0.1:26379")
    monkeypatch.setenv("COOKIE_KEYS", new_key())
    monkeypatch.setenv("DATABASE_URL", "none")
    monkeypatch.setenv(name, text)
    assert getattr(Settings(), expected) == text.lower()


def test_samesite_counts_in_any_case() -> None:
    assert Settings(cookie_samesite="LAX").cookie_samesite == "Lax"


def test_a_file_holds_the_value_and_its_last_line_break_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [new_key(), new_key()]
    Path("keys").write_text(f"{keys[0]}, {keys[1]}\n", encoding="utf-8")
    monkeypatch.setenv("COOKIE_KEYS_FILE", "keys")
    assert [key.get_secret_value() for key in Settings().cookie_keys] == keys


LISTS: dict[str, tuple[str, str]] = {
    "trusted_proxies": ("10.0.0.0/8", "::1/128"),
    "public_origins": ("https://a.example.com", "https://b.example.com"),
    "return_hosts": ("a.example.com", "b.example.com"),
    "cors_origins": ("https://a.example.com", "https://b.example.com"),
    "redis_sentinels": ("10.0.0.1:26379", "[::1]:26379"),
    "redis_cluster_nodes": ("10.0.0.1:6379", "10.0.0.2:6379"),
    "cookie_keys": ("A" * 43, "-" * 42 + "8"),
    "cookie_former": ("example.com/app", "/app partitioned"),
    "jwt_keys": (KEY_OF_TOKENS, KEY_OF_TOKENS.replace("AAAA", "BBBB")),
}
"""Two values of each list setting."""


def values_of(name: str) -> list[str]:
    """The values of a list setting, read from the environment, `.env` and files."""
    more = {"session_name": "sid"} if name == "cookie_former" else {}
    if name.startswith("redis"):
        more |= {"cookie_keys": "A" * 43, "database_url": "none"}
    return [each.get_secret_value() if isinstance(each, SecretStr) else str(each) for each in getattr(Settings(**more), name)]


def test_every_list_setting_is_tried() -> None:
    assert set(LISTS) == {name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is tuple}


@pytest.mark.parametrize("between", [",", " , ", "\n", "\r\n", ",\n", "\n\n"])
@pytest.mark.parametrize("place", ["environment", "dotenv", "file"])
@pytest.mark.parametrize("name", LISTS)
def test_commas_and_line_breaks_separate_the_values_of_every_list(
    name: str, place: str, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = between.join(LISTS[name])
    if place == "environment":
        monkeypatch.setenv(name.upper(), text)
    elif place == "dotenv":
        dotenv(f'{name.upper()}="{text}"\n')
    else:
        Path("values").write_text(f"{text}\n", encoding="utf-8")
        monkeypatch.setenv(f"{name.upper()}_FILE", "values")
    assert values_of(name) == list(LISTS[name])


@pytest.mark.parametrize("name", LISTS)
def test_a_value_on_a_line_of_its_own_in_dotenv_is_refused_and_not_lost(name: str) -> None:
    one, other = LISTS[name]
    dotenv(f"{name.upper()}={one}\n{other}\nPORT=9001\n")
    assert refusal() == (
        f"{name.upper()}: .env has a value on the next line; write all values on one line with commas, or in quotes"
    )


@pytest.mark.parametrize("line", ["10.0.0.2:26379, 10.0.0.3:26379", "  10.0.0.2:26379,", "\n# a comment\n10.0.0.2:26379"])
def test_a_lost_line_is_found_in_any_form(line: str) -> None:
    dotenv(f"REDIS_SENTINELS=10.0.0.1:26379,\n{line}\n")
    assert refusal().startswith("REDIS_SENTINELS: .env has a value on the next line; ")


def test_a_padded_key_is_no_name() -> None:
    dotenv(f"COOKIE_KEYS={new_key()}\n{new_key()}=\n")
    assert refusal().startswith("COOKIE_KEYS: .env has a value on the next line; ")


def test_the_lines_of_a_quoted_list_are_its_values() -> None:
    dotenv('RETURN_HOSTS="a.example.com\nb.example.com\n"\nPORT=9001\n')
    assert Settings().return_hosts == ("a.example.com", "b.example.com")
    assert Settings().port == 9001


@pytest.mark.parametrize("line", ["COMPOSE_PROJECT_NAME", "DATABASE=host:5432", "export FOO", "PORT", "# a comment", "", "FOO="])
@pytest.mark.parametrize("name", LISTS)
def test_a_name_without_a_value_in_dotenv_is_no_value_of_the_list_above(name: str, line: str) -> None:
    one, _ = LISTS[name]
    dotenv(f"{name.upper()}={one}\n{line}\n")
    assert values_of(name) == [one]


def test_a_space_between_keys_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOKIE_KEYS", f"{new_key()} {new_key()}")
    assert refusal() == "COOKIE_KEYS: the key contains a space; put a comma or a line break between two keys"


def test_an_invalid_key_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_KEYS", f"{KEY_OF_TOKENS}\n{SECRET}")
    assert refusal() == (
        "JWT_KEYS: key 2 of 2 is not an Ed25519 private key (shared secrets are not accepted); "
        "make a key with `stateroom keys --jwt`"
    )


def test_dotenv_may_name_a_file() -> None:
    Path("secret").write_text(SECRET, encoding="utf-8")
    dotenv("REDIS_PASSWORD_FILE=secret\n")
    password = Settings().redis_password
    assert password is not None
    assert password.get_secret_value() == SECRET


def test_a_value_in_the_environment_beats_a_file_that_dotenv_names(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("PORT_FILE=absent\n")
    monkeypatch.setenv("PORT", "9001")
    assert Settings().port == 9001


def test_a_file_that_the_environment_names_beats_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("port").write_text("9001", encoding="utf-8")
    dotenv("PORT=9002\n")
    monkeypatch.setenv("PORT_FILE", "port")
    assert Settings().port == 9001


def test_a_value_and_a_file_side_by_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "secret")
    assert refusal() == "REDIS_PASSWORD: REDIS_PASSWORD_FILE is set too; unset one of them"


def test_files_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty").write_text("\n", encoding="utf-8")
    Path("binary").write_bytes(b"\xff\xfe\x00")
    for file, reason in [("absent", "No such file or directory"), (".", "Is a directory"), ("binary", "it is not UTF-8 text")]:
        monkeypatch.setenv("REDIS_PASSWORD_FILE", file)
        assert refusal() == f"REDIS_PASSWORD_FILE: {file} cannot be read: {reason}; name a readable text file"
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "empty")
    assert refusal() == "REDIS_PASSWORD_FILE: empty is empty; write the value into it, or unset REDIS_PASSWORD_FILE"


def test_a_wrong_value_in_a_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("keys").write_text(SECRET, encoding="utf-8")
    monkeypatch.setenv("COOKIE_KEYS_FILE", "keys")
    assert refusal() == "COOKIE_KEYS: the key is not 32 bytes in base64url (43 characters); make a key with `stateroom keys`"


def test_dotenv_that_is_no_text_is_told() -> None:
    Path(".env").write_bytes(b"PORT=\xff\n")
    assert refusal() == ".env: cannot be read: it is not UTF-8 text; correct or remove the file"


@pytest.mark.parametrize("name", ["COOKIE_HASH_KEY", "COOKIE_BLOCK_KEY"])
@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_keys_of_other_session_services_are_named_with_the_fix(name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "environment":
        monkeypatch.setenv(name, SECRET)
    else:
        dotenv(f"{name}={SECRET}\n")
    assert refusal() == f"{name} is not a setting of Stateroom; make a key with `stateroom keys` and use COOKIE_KEYS"


def test_a_slip_in_code_is_told() -> None:
    assert refusal(sesion_max_age=60) == "SESION_MAX_AGE is not a setting of Stateroom; did you mean SESSION_MAX_AGE?"
    assert (
        refusal(colour="blue")
        == "COLOUR is not a setting of Stateroom; correct its name or remove it (docs/settings.md lists all settings)"
    )


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "port", 9001)  # noqa: B010 (mypy knows already that this is refused)
    assert settings.port == 8080
