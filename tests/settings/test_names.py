"""A misspelt name stops the service, warns in library use, and names of others are left alone."""

from __future__ import annotations

import re
import time
import warnings
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateroom.errors import SettingsError
from stateroom.settings import MisspeltSettingWarning, Settings
from stateroom.settings.names import _FIXES, MOST_EDITS, is_within, nearest

SECRET = "hunter2-correct-horse"

MISSPELT: dict[str, str] = {
    "REDIS_HSOT": "REDIS_HOST",
    "REDIS_HOSTS": "REDIS_HOST",
    "REDIS_PASWORD": "REDIS_PASSWORD",
    "redis_pasword": "REDIS_PASSWORD",
    "SESION_MAX_AGE": "SESSION_MAX_AGE",
    "COOKIE_KEY": "COOKIE_KEYS",
    "COOKIES_KEYS_FILE": "COOKIE_KEYS_FILE",
    "REDIS_PASSWORD_FIEL": "REDIS_PASSWORD_FILE",
    "JWT_KEY": "JWT_KEYS",
    "REDIS_SENTINEL": "REDIS_SENTINELS",
    "TRUSTED_PROXYS": "TRUSTED_PROXIES",
    "MAIL_ULR": "MAIL_URL",
    "MAIL_FORM": "MAIL_FROM",
    "EMAIL_VERIFIKATION": "EMAIL_VERIFICATION",
    "LOGIN_ATEMPTS_PER_ADRESS": "LOGIN_ATTEMPTS_PER_ADDRESS",
}

# What shells, desktops, CI, Python, containers and other services on the same host have in the environment.
USUAL = """
API_PORT APP_HOST APP_PORT BIND_HOST BUILD_ID CI_COMMIT_SHA CI_REGISTRY_PASSWORD COLORTERM COMPOSE_PROJECT_NAME
COOKIE_NAME COOKIE_SECRET CORS_ALLOW_ORIGINS DATABASE_HOST DATABASE_NAME DATABASE_PORT DATABASE_USER
DBUS_SESSION_BUS_ADDRESS DB_HOST DB_URL DESKTOP_SESSION DOCKER_HOST GEOIP_LICENSE_KEY GITHUB_REF_NAME GITHUB_TOKEN
GPG_AGENT_INFO HOST_IP HOST_NAME HTTPS_PROXY HTTP_PORT HTTP_PROXY INVOCATION_ID JOURNAL_STREAM JWT_EXPIRES JWT_SECRET
KUBERNETES_PORT_443_TCP_ADDR KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_SERVICE_PORT_HTTPS LC_ALL
LC_CTYPE LESS_TERMCAP LISTEN_FDS LOGIN_SHELL LOGNAME LOGS_DIRECTORY LOG_COLOR LOG_DIR LOG_FILE LOG_PATH LS_COLORS
METRICS_ENABLED METRICS_PATH METRICS_PORT_9464_TCP_PORT METRICS_SERVICE_PORT MYSQL_HOST NODE_NAME
NOTIFY_SOCKET NO_PROXY PAM_USER PASSWORD_STORE_DIR PGPASSWORD PIP_NO_CACHE_DIR POD_NAME PORT_NUMBER POSTGRES_PASSWORD
PROMETHEUS_MULTIPROC_DIR PYTHONUNBUFFERED PYTHON_VERSION REDIS_ARGS REDIS_CLUSTER REDIS_DATABASE
REDIS_DOWNLOAD_URL REDIS_ENV_VERSION REDIS_KEY REDIS_MASTER_HOST REDIS_MASTER_PASSWORD REDIS_MAXMEMORY REDIS_NAME
REDIS_PASS REDIS_PORT_6379_TCP_ADDR REDIS_PORT_6379_TCP_PORT REDIS_PORT_6379_TCP_PROTO REDIS_REPLICATION_MODE
REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_TLS_CA_CERT REDIS_TLS_ENABLED REDIS_USER REDIS_VERSION
RUNNER_OS RUNTIME_DIRECTORY SECRET_KEY SERVER_PORT SESSION_DOMAIN SESSION_DRIVER SESSION_ID SESSION_KEY SESSION_LIFETIME
SESSION_MANAGER SESSION_SECRET SHELL_SESSION_ID SSH_AUTH_SOCK SSH_CLIENT SSH_CONNECTION STACK_HTTP_PORT STATE_DIRECTORY
TERM_PROGRAM UVICORN_PORT VIRTUAL_ENV WATCHDOG_PID WEB_CONCURRENCY WINDOW_ID XDG_DATA_DIRS XDG_SESSION_ID XDG_STATE_HOME
""".split()  # noqa: SIM905 (a list of them would take two hundred lines)


def links(prefix: str, port: int) -> dict[str, str]:
    """What Kubernetes sets for a service, and Docker for a link."""
    url = f"tcp://10.96.0.7:{port}"
    own = {"SERVICE_HOST": "10.96.0.7", "SERVICE_PORT": str(port), "PORT": url, "NAME": "/web/redis"}
    return {f"{prefix}_{name}": value for name, value in own.items()} | {
        f"{prefix}_PORT_{port}_TCP": url,
        f"{prefix}_PORT_{port}_TCP_ADDR": "10.96.0.7",
        f"{prefix}_PORT_{port}_TCP_PORT": str(port),
        f"{prefix}_PORT_{port}_TCP_PROTO": "tcp",
    }


@pytest.mark.parametrize("place", ["environment", "dotenv"])
@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_name_stops_the_service_and_warns_a_library(name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "environment":
        monkeypatch.setenv(name, SECRET)
    else:
        Path(".env").write_text(f"{name}={SECRET}\n", encoding="utf-8")
    line = f"{name.upper()} is not a setting of Stateroom; did you mean {MISSPELT[name]}?"
    with pytest.raises(SettingsError) as refused:
        Settings.for_service()
    assert str(refused.value) == line
    with pytest.warns(MisspeltSettingWarning) as warned:
        assert Settings().port == 8080
    assert [str(each.message) for each in warned] == [line]


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("REDIS_SSL", "for TLS set REDIS_TLS=true, or begin REDIS_URL with rediss://"),
        ("REDIS_DSN", "use REDIS_URL"),
        ("REDIS_TTL", "use SESSION_MAX_AGE"),
        ("SESSION_AGE", "use SESSION_MAX_AGE"),
        ("REDIS_CA", "use REDIS_TLS_CA"),
        ("REDIS_POOL", "use REDIS_POOL_SIZE"),
    ],
)
def test_a_name_that_others_use_leads_to_what_it_means_and_not_to_what_is_spelt_like_it(
    name: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"{name} is not a setting of Stateroom; {fix}"
    with pytest.raises(SettingsError) as refused:
        Settings(**{name.lower(): SECRET})
    assert str(refused.value) == line
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError) as refused:
        Settings.for_service()
    assert str(refused.value) == line
    with pytest.warns(MisspeltSettingWarning) as warned:
        assert Settings().port == 8080
    assert [str(each.message) for each in warned] == [line]


def test_a_fix_names_settings_that_exist() -> None:
    ours = {name.upper() for name in Settings.model_fields}
    for name, fix in _FIXES.items():
        named = set(re.findall(r"[A-Z]+_[A-Z_]+", fix))
        assert named
        assert named <= ours
        assert name not in ours


def test_without_dotenv_its_names_are_not_looked_at() -> None:
    Path(".env").write_text("REDIS_HSOT=redis\n", encoding="utf-8")
    assert Settings(_env_file=None).port == 8080


def test_usual_names_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USUAL:
        monkeypatch.setenv(name, "value")
    monkeypatch.setenv("REDIS_HSOT", "")  # compose files give names without a value so
    monkeypatch.setenv("HOSTNAME", "pod-1")
    monkeypatch.setenv("PROT", "80")  # one edit, but no underscore
    monkeypatch.setenv("TRUSTED_PROXY", "10.0.0.0/8")  # four edits
    assert Settings.for_service().port == 8080


@pytest.mark.parametrize("prefix", ["REDIS_0", "REDIS1", "REDIS_A", "REDI", "METRIC", "METRICS_X", "REDIS_MASTER", "VALKEY"])
def test_what_kubernetes_and_docker_set_for_a_service_is_left_alone(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in links(prefix, 6379).items():
        monkeypatch.setenv(name, value)
    assert Settings.for_service().redis_mode == "embedded"


def test_settings_do_not_take_each_other_for_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of ours that lie near each other (REDIS_URL, REDIS_DB) are all known, with _FILE too."""
    for name in ("REDIS_DB", "REDIS_TLS", "JWT_KEYS_FILE", "COOKIE_KEYS_FILE"):
        monkeypatch.setenv(name, "")
    Path("keys").write_text("A" * 43, encoding="utf-8")
    monkeypatch.setenv("COOKIE_KEYS_FILE", "keys")
    assert len(Settings.for_service().cookie_keys) == 1


@given(st.text("AB_", max_size=7), st.text("AB_", max_size=7))
def test_the_distance_is_levenshteins(one: str, other: str) -> None:
    row = list(range(len(other) + 1))
    for above, a in enumerate(one, 1):
        before, row[0] = row[0], above
        for at, b in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (a != b))
    for edits in range(MOST_EDITS + 1):
        assert is_within(one, other, edits) == (row[-1] <= edits)


@given(st.sampled_from(sorted(Settings.model_fields)), st.data())
def test_no_slip_is_missed(setting: str, data: st.DataObject) -> None:
    """Two edits at any place lead back to a name that is as near."""
    name = setting.upper()
    for _ in range(MOST_EDITS):
        at = data.draw(st.integers(0, len(name) - 1))
        name = name[:at] + data.draw(st.text("ABX_", max_size=2)) + name[at + 1 :]
    forms = tuple(each.upper() for each in Settings.model_fields)
    found = nearest(name, forms)
    expected = [edits for edits in range(MOST_EDITS + 1) for form in forms if is_within(name, form, edits)]
    if not expected:
        assert found is None
    elif expected[0] > 0:
        assert found is not None
        assert is_within(name, found, expected[0])


def test_a_large_environment_is_looked_through_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, number in product(("REDIS", "SESSION", "COOKIE", "OTHER"), range(100)):
        monkeypatch.setenv(f"{prefix}_NUMBER_{number}_TCP_PORT", "1")
    with warnings.catch_warnings():
        began = time.process_time()
        Settings()
    assert time.process_time() - began < 0.5
