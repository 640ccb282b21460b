"""Where values come from: code, the environment, files that NAME_FILE names, `.env`, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

from .test_each_setting import refusal

SECRET = "hunter2-correct-horse"


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


@pytest.mark.parametrize("between", ["\n", "\r\n", ",\n", "\n\n"])
def test_a_list_in_a_file_may_have_one_value_a_line(between: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [new_key(), new_key()]
    Path("keys").write_text(between.join(keys) + "\n", encoding="utf-8")
    Path("proxies").write_text(between.join(["10.0.0.0/8", " ::1 "]), encoding="utf-8")
    monkeypatch.setenv("COOKIE_KEYS_FILE", "keys")
    monkeypatch.setenv("TRUSTED_PROXIES_FILE", "proxies")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.cookie_keys] == keys
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]


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
    assert refusal() == "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set; keep one of them"


def test_files_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty").write_text("\n", encoding="utf-8")
    Path("binary").write_bytes(b"\xff\xfe\x00")
    for file, reason in [("absent", "No such file or directory"), (".", "Is a directory"), ("binary", "it is not UTF-8 text")]:
        monkeypatch.setenv("REDIS_PASSWORD_FILE", file)
        assert refusal() == f"REDIS_PASSWORD_FILE: {file} cannot be read: {reason}; name a file that can"
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "empty")
    assert refusal() == "REDIS_PASSWORD_FILE: empty is empty; write the value into it, or unset REDIS_PASSWORD_FILE"


def test_a_wrong_value_in_a_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("keys").write_text(SECRET, encoding="utf-8")
    monkeypatch.setenv("COOKIE_KEYS_FILE", "keys")
    assert refusal() == "COOKIE_KEYS: a key is not 32 bytes of base64url; make one with `stateroom keys`"


def test_dotenv_that_is_no_text_is_told() -> None:
    Path(".env").write_bytes(b"PORT=\xff\n")
    assert refusal() == ".env cannot be read: it is not UTF-8 text; correct it or move it away"


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
    assert refusal(colour="blue") == "COLOUR is not a setting of Stateroom; the README lists the settings"


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "port", 9001)  # noqa: B010 (mypy knows already that this is refused)
    assert settings.port == 8080
