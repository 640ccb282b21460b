"""A wrong value of any setting stops startup with one line: the setting, what is wrong, how to fix it, and no secret."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from stateroom.errors import SettingsError
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.sessions.sealing.token_keys import new_token_key
from stateroom.settings import Settings

A_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
"""In the names of tests, which must be the same in each process of a test run."""
SECRET = "hunter2-correct-horse"
SHORT_JWT_KEY = "hunter2-too-short"
A_JWT_KEY = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))).decode()
OF_ANOTHER_KIND = base64.b64encode(bytes.fromhex("302e020100300506032b656e04220420") + bytes(range(32))).decode()
"""X25519 (RFC 8410, section 3): it signs nothing."""

WRONG: dict[str, tuple[str, ...]] = {
    "HOST": ("http://localhost", "127.0.0.1:8080", "two words", "fe80::xyz"),
    "PORT": ("eighty", "-1", "65536", "80.5"),
    "METRICS_HOST": ("127.0.0.1/metrics",),
    "METRICS_PORT": ("x", "70000"),
    "TRUSTED_PROXIES": (
        "10.0.0.0/33",
        "proxy.example.com",
        "10.0.0.0/8, nonsense",
        "10.0.0.1/8",
        "::ffff:10.0.0.1/104",
        f"user:{SECRET}@10.0.0.1",
        "fe80::1%eth0",
        "[::1]",
    ),
    "PUBLIC_ORIGINS": (
        "app.example.com",
        "https://app.example.com/path",
        "ftp://app.example.com",
        "https://[::1",
        "https://a:port",
        "https://b\u00fccher.example",
        "https://*.example.com",
        "file:///app/index.html",
        "htps://app.example.com",
        "wss://app.example.com",
    ),
    "RETURN_HOSTS": (
        "https://app.example.com",
        "app.example.com/path",
        "a b",
        f"user:{SECRET}@host",
        "*x",
        "*.x:port",
        "app.example.com.",
        "::1",
        "127.1",
        "b\u00fccher.example",
    ),
    "LOGIN_URL": ("login", "//elsewhere.example.com", "javascript:alert(1)", "/log in", "/\\elsewhere.example.com", "/login#form"),
    "CORS_ORIGINS": (
        "*",
        "null",
        f"https://user:{SECRET}@app.example.com",
        f"https://user:{SECRET}@*.example.com",
        "https://*.example.com",
        "https://app.*",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "//app.example.com",
        "app.example.com",
        "localhost:3000",
        "https://a b.example.com",
        "https://[fe80::1%25eth0]",
        "capacitor://",
        "javascript:alert(1)",
    ),
    "REDIS_MODE": ("replicated",),
    "REDIS_URL": (
        f"http://:{SECRET}@host:6379",
        f"redis://:{SECRET}@host:port",
        f"redis://:{SECRET}@host:70000",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}\u2100@host",
        f"redis://:{SECRET}@host/first",
        f"{SECRET}",
        "unix://",
        "unix://run/redis.sock",
        f"redis://:{SECRET}@host/0?password={SECRET}",
        f"redis://:{SECRET}@host/0#1",
    ),
    "REDIS_HOST": ("redis://localhost", "localhost:6379", "a b"),
    "REDIS_PORT": ("x", "0", "65536", "tcp://10.0.0.1:6379"),
    "REDIS_DB": ("first", "-1"),
    "REDIS_SENTINELS": (
        "10.0.0.1",
        "::1:26379",
        "10.0.0.1:port",
        "10.0.0.1:26379, nonsense",
        "10.0.0.1:0",
        "[::1",
        f"redis://:{SECRET}@10.0.0.1:26379",
        f"user:{SECRET}@10.0.0.1:26379",
    ),
    "REDIS_CLUSTER_NODES": ("10.0.0.1", "10.0.0.1:70000", f"redis://:{SECRET}@10.0.0.1:6379"),
    "REDIS_TLS": ("maybe",),
    "REDIS_TLS_CA": ("absent.pem",),
    "REDIS_TLS_CERT": ("absent.pem",),
    "REDIS_TLS_KEY": ("absent.pem",),
    "REDIS_SENTINEL_TLS": ("maybe",),
    "REDIS_SENTINEL_TLS_CA": ("absent.pem",),
    "REDIS_SENTINEL_TLS_CERT": ("absent.pem",),
    "REDIS_SENTINEL_TLS_KEY": ("absent.pem",),
    "REDIS_KEY_PREFIX": ("with space", "{tag}", "x" * 65, "a*"),
    "REDIS_POOL_SIZE": ("many", "0"),
    "REDIS_MIN_IDLE": ("few", "-1", "21"),
    "REDIS_DIAL_TIMEOUT": ("soon", "0", "-1", "nan", "inf", "500", "2m", "0s", "5 s s"),
    "REDIS_READ_TIMEOUT": ("soon", "0", "500"),
    "REDIS_WRITE_TIMEOUT": ("soon", "0", "500"),
    "REDIS_WRITE_REPLICAS": ("all", "-1"),
    "REDIS_WRITE_REPLICAS_TIMEOUT": ("soon", "0"),
    "SESSION_NAME": (
        "two words",
        "a=b",
        "a;b",
        "sitzung\u00e4",
        "__Host-session",
        "__secure-session",
        "n" * 129,
        "stateroom_signed_in",
    ),
    "SESSION_MAX_AGE": (
        "an hour",
        "0",
        "-1",
        "1.5",
        "99999999999",
        "43201",
        "500ms",
        "1w",
        "1h30m",
        "h",
        "-1h",
        "12 hours",
        "1e400",
    ),
    "SESSION_ABSOLUTE_MAX_AGE": ("a day", "0"),
    "SESSION_RENEW_INTERVAL": ("often", "0", "3600"),
    "SESSION_REMEMBER_MAX_AGE": ("a month", "0"),
    "SESSION_ADDRESS": ("none",),
    "SESSION_CACHE_MAX_AGE": ("x", "-1", "inf"),
    "SESSION_MAX_PER_USER": ("one", "-1"),
    "SESSION_MAX_BYTES": ("16k", "0"),
    "HEADER_MAX_BYTES": ("16k", "8189", "65537"),
    "HSTS_MAX_AGE": ("two years", "-1"),
    "HSTS_SUBDOMAINS": ("some",),
    "ACCESS_RULES_FILE": ("/no/such/rules.yml",),
    "ACCESS_DEFAULT": ("everybody",),
    "FORWARD_AUTH_PROXY": ("squid",),
    "WORKER_TIMEOUT": ("soon", "4"),
    "SESSION_CHANGES_PER_USER": ("x", "-1"),
    "SESSION_CHANGES_PER_ADDRESS": ("x", "-1"),
    "SESSION_CHANGES_WINDOW": ("x", "0"),
    "COOKIE_KEYS": (" , ", SECRET, f"{A_KEY},{SECRET}", f"!{A_KEY}", "schl\u00fcssel"),
    "COOKIE_SECURE": ("maybe",),
    "COOKIE_DOMAIN": (
        "https://example.com",
        "example.com; HttpOnly",
        "example.com/path",
        "co.uk",
        "github.io",
        "localhost",
        "10.0.0.1",
        "0x7f.1",
        "example.127",
    ),
    "COOKIE_PATH": ("app", "/a;b", "/a b"),
    "COOKIE_FORMAT": ("x", "0", "3"),
    "COOKIE_SAMESITE": ("sometimes", "none"),
    "COOKIE_PARTITIONED": ("maybe", "true"),
    "COOKIE_FORMER": (
        "co.uk",
        "https://example.com",
        "10.0.0.1/app",
        "example.com;/app",
        "/a b c",
        "/app shared",
        "example.com /app",
        ", ".join(f"/{number}" for number in range(9)),
    ),
    "DEPLOYMENT": ("a name", "produktion-\u00fc", "x" * 201),
    "JOURNAL_LEASE": ("0.3", "11", "soon", "nan", "-1", "100ms", "1m"),
    "JOURNAL_REQUIRED": ("maybe",),
    "STATE_DIR": ("a-file",),
    "DEGRADED_MAX_AGE": ("x", "-1", "3601", "2h", "-5m", "nan"),
    "PASSWORD_MIN_LENGTH": ("x", "0", "1025"),
    "BCRYPT_ROUNDS": ("x", "3", "32"),
    "FRESH_MAX_AGE": ("x", "0"),
    "LOGIN_ATTEMPTS": ("x", "0"),
    "LOGIN_ATTEMPTS_PER_ADDRESS": ("x", "0"),
    "LOGIN_WINDOW": ("x", "0"),
    "GEOIP_DATABASE": ("absent.mmdb",),
    "PUBLIC_URL": (
        "example.com",
        "ftp://example.com",
        "https://example.com/%73so",
        "https://example.com/a/../sso",
        "https://example.com//sso",
        "https://example.com/sso?a",
        f"https://user:{SECRET}@example.com",
        f"https://user:{SECRET}@example.com/sso",
        f"https://user:{SECRET}#@example.com/sso",
        "capacitor://a",
    ),
    "REGISTRATION": ("never",),
    "EMAIL_VERIFICATION": ("perhaps",),
    "MAIL_URL": (
        f"{SECRET}",
        f"http://user:{SECRET}@mail.example.com",
        f"mailto:{SECRET}@mail.example.com",
        f"smtp://user:{SECRET}#@mail.example.com",
        f"smtp://user:{SECRET}/@mail.example.com:587",
        f"smtp://user:{SECRET}@mail.example.com:port",
        f"smtp://user:{SECRET}@mail.example.com:0",
        f"smtp://user:{SECRET}@mail.example.com:70000",
        f"smtp://user:{SECRET}@fe80::1",
        f"smtp://user:{SECRET}@[::1",
        f"smtp://user:{SECRET}@",
        f"smtp://user:{SECRET}@mail example",
        f"smtp://user:{SECRET}@mail.example.com/folder",
        f"smtp://mail.example.com?password={SECRET}",
        f"smtp://:{SECRET}@mail.example.com",
        "smtp://user@mail.example.com",
        "smtp://user:@mail.example.com",
        "smtp://",
        "file:",
        "file://",
        "file://host/folder",
    ),
    "MAIL_FROM": (
        "Stateroom",
        "no-reply@",
        "@example.com",
        "Stateroom <no-reply@example.com",
        "Stateroom no-reply@example.com",
        "a@example.com, b@example.com",
        "Rooms, Ltd <a@example.com>",
        "Eve <eve@example.com> <a@example.com>",
        "Rooms\r\nBcc: eve@example.com <a@example.com>",
        "b\u00fccher@example.com",
        f"{'a' * 250}@example.com",
    ),
    "MAIL_TLS_CA": ("absent.pem",),
    "MAIL_REQUESTS": ("x", "0"),
    "MAIL_REQUESTS_PER_ADDRESS": ("x", "0"),
    "MAIL_REQUESTS_WINDOW": ("x", "0"),
    "LOG_LEVEL": ("loud",),
    "LOG_FORMAT": ("xml",),
    "DRAIN_DELAY": ("x", "-1", "inf", "nan"),
    "JWT_KEYS": (",,", SHORT_JWT_KEY, f"{A_JWT_KEY},{SHORT_JWT_KEY}", "k" * 32, A_KEY, OF_ANOTHER_KIND),
    "JWT_MAX_AGE": ("x", "0"),
}

# What these hold is free text, or is judged where it is used: the database's driver, the blocklist's reader, the servers.
FREE = {
    "METRICS_TOKEN", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_MASTER_NAME", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD",
    "REDIS_TLS_SERVER_NAME", "REDIS_SENTINEL_TLS_SERVER_NAME", "DATABASE_URL", "PASSWORD_BLOCKLIST", "PASSWORD_PEPPER",
    "JWT_ISSUER", "JWT_AUDIENCE",
}  # fmt: skip

FIXES = ("; ", "must be ", "write ", "for example ", "did you mean")


def refusal(**values: object) -> str:
    """The line that these settings stop with."""
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    return str(caught.value)


def test_every_setting_is_tried_or_free() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(WRONG) | FREE
    assert not set(WRONG) & FREE


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_stops_with_one_line(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a-file").touch()
    monkeypatch.setenv(name, value)
    line = refusal()
    assert line.startswith(name)
    assert line.count("\n") == 0
    assert len(line) < 200
    assert any(fix in line for fix in FIXES), line
    assert SECRET not in line
    assert SHORT_JWT_KEY not in line


@pytest.mark.parametrize(
    "name", ["REDIS_URL", "COOKIE_KEYS", "JWT_KEYS", "REDIS_SENTINELS", "CORS_ORIGINS", "PUBLIC_URL", "MAIL_URL"]
)
def test_the_whole_chain_of_causes_holds_no_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in WRONG[name]:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError) as caught:
            Settings()
        error: BaseException | None = caught.value
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        while error is not None:
            assert SECRET not in repr(error)
            assert SHORT_JWT_KEY not in repr(error)
            error = error.__cause__


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_value_counts_as_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(Settings(), name) == getattr(Settings(_env_file=None), name)
    assert name not in Settings().model_fields_set


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "eighty", "PORT: must be a whole number; for example 8080"),
        ("PORT", "65536", "PORT: must be at most 65535; for example 8080"),
        ("REDIS_READ_TIMEOUT", "500", "REDIS_READ_TIMEOUT: must be at most 60; for example 0.5"),
        ("REDIS_DIAL_TIMEOUT", "0", "REDIS_DIAL_TIMEOUT: must be more than 0; for example 0.5"),
        ("METRICS_PORT", "x", "METRICS_PORT: must be a whole number; for example 9464"),
        ("SESSION_MAX_AGE", "an hour", "SESSION_MAX_AGE: must be a number of seconds, or a duration such as 90s, 15m, 12h or 30d"),
        (
            "SESSION_MAX_AGE",
            "1500ms",
            "SESSION_MAX_AGE: must be a whole number of seconds, or a duration such as 90s, 15m, 12h or 30d",
        ),
        ("SESSION_RENEW_INTERVAL", "0s", "SESSION_RENEW_INTERVAL: must be more than 0; for example 60"),
        ("REDIS_READ_TIMEOUT", "2m", "REDIS_READ_TIMEOUT: must be at most 60; for example 0.5"),
        (
            "REDIS_PORT",
            "tcp://10.0.0.1:6379",
            (
                "REDIS_PORT: Kubernetes or Docker has set this variable for a service of this name; "
                "set it to a port number, or put `enableServiceLinks: false` into the spec of the pod"
            ),
        ),
        ("REDIS_TLS", "maybe", "REDIS_TLS: must be true or false"),
        ("REDIS_MODE", "x", "REDIS_MODE: must be embedded, single, sentinel or cluster"),
        (
            "REDIS_SENTINELS",
            "::1:26379",
            "REDIS_SENTINELS: an IPv6 address needs brackets and a port; write for example [::1]:26379",
        ),
        ("REDIS_SENTINELS", "here", "REDIS_SENTINELS: 'here' is not host:port; write for example 127.0.0.1:26379 or [::1]:26379"),
        ("REDIS_HOST", "localhost:6379", "REDIS_HOST: must be a host without port and scheme; for example 127.0.0.1 or ::1"),
        ("COOKIE_KEYS", "x", "COOKIE_KEYS: the key is not 32 bytes in base64url (43 characters); make a key with `stateroom keys`"),
    ],
)
def test_the_words(name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert refusal() == words


def test_settings_show_no_secret() -> None:
    settings = Settings(
        redis_url=f"redis://:{SECRET}@host",
        cookie_keys=(new_key(),),
        jwt_keys=(new_token_key(),),
        password_pepper=SECRET,
        metrics_token=SECRET,
        redis_sentinel_password=SECRET,
        redis_password=SECRET,
        database_url=f"postgresql://user:{SECRET}@host/db",
        mail_url=f"smtp://user:{SECRET}@host",
        mail_from="no-reply@example.com",
        public_url="https://example.com",
    )
    shown = repr(settings) + str(settings) + settings.model_dump_json()
    assert SECRET not in shown
    assert settings.cookie_keys[0].get_secret_value() not in shown
