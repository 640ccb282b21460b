"""What settings imply, and what they need, exclude or contradict of each other."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from stateroom.settings import Address, Settings
from stateroom.settings.implied import IMPLIED

from .test_each_setting import refusal

KEY = "A" * 43
SECRET = "hunter2-correct-horse"


def production(**values: Any) -> Settings:
    return Settings(**{"cookie_keys": KEY, "database_url": "none", **values})


def refused(**values: Any) -> str:
    return refusal(**{"cookie_keys": KEY, "database_url": "none", **values})


def test_nothing_set_is_the_embedded_mode_for_a_first_look() -> None:
    settings = Settings()
    assert settings.redis_mode == "embedded"
    assert settings.is_embedded
    assert not settings.is_cookie_secure
    assert settings.session_name == "session_id"
    assert settings.cookie_keys == ()
    assert settings.state_dir == Path("var")
    assert settings.redis_write_replicas == 0


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({"redis_host": "localhost"}, "single"),
        ({"redis_port": 6380}, "single"),
        ({"redis_url": "redis://localhost"}, "single"),
        ({"redis_url": "unix:///run/redis.sock"}, "single"),
        ({"redis_sentinels": "10.0.0.1:26379"}, "sentinel"),
        ({"redis_cluster_nodes": "10.0.0.1:6379"}, "cluster"),
        ({"redis_sentinels": "10.0.0.1:26379", "redis_host": "localhost"}, "sentinel"),
        ({"redis_mode": "single", "redis_sentinels": "10.0.0.1:26379"}, "single"),
        ({"redis_mode": "cluster", "redis_sentinels": "10.0.0.1:26379", "redis_cluster_nodes": "10.0.0.1:6379"}, "cluster"),
    ],
)
def test_where_redis_is_implies_the_mode_unless_it_is_said(values: dict[str, Any], mode: str) -> None:
    assert production(**values).redis_mode == mode


def test_writes_wait_for_a_replica_where_there_are_some() -> None:
    assert production(redis_sentinels="10.0.0.1:26379").redis_write_replicas == 1
    assert production(redis_sentinels="10.0.0.1:26379", redis_write_replicas=0).redis_write_replicas == 0
    assert production(redis_host="localhost").redis_write_replicas == 0


def test_lists_take_spaces_and_ipv6_in_brackets() -> None:
    settings = production(redis_sentinels=" 10.0.0.1:26379 , [::1]:26380,sentinel-3:26379,, ")
    assert settings.redis_sentinels == (Address("10.0.0.1", 26379), Address("::1", 26380), Address("sentinel-3", 26379))
    assert [str(address) for address in settings.redis_sentinels] == ["10.0.0.1:26379", "[::1]:26380", "sentinel-3:26379"]


def test_networks_of_both_families() -> None:
    assert Settings(trusted_proxies="10.0.0.0/8, ::1").trusted_proxies == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_hosts_are_kept_without_brackets(host: str) -> None:
    assert Settings(host=host).host == "::1"
    assert production(redis_host=host).redis_host == "::1"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://App.Example.com/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:8080", "http://app.example.com:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("https://[2001:DB8:0::1]:443/", "https://[2001:db8::1]"),
        ("Capacitor://LocalHost/", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("ionic://localhost:3000", "ionic://localhost:3000"),
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"),
        ("moz-extension://9a8b-77", "moz-extension://9a8b-77"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(given: str, kept: str) -> None:
    assert Settings(public_origins=given).public_origins == (kept,)
    assert Settings(cors_origins=given).cors_origins == (kept,)


def test_cookie_keys_are_tried_in_their_order() -> None:
    settings = Settings(cookie_keys=f"{'A' * 43}, {'_' * 42}8=")
    assert settings.key_ring == (bytes(32), b"\xff" * 32)


def test_renewal_is_due_each_tenth_of_the_idle_lifetime_and_at_least_each_minute() -> None:
    assert Settings().session_renew_interval == 60
    assert Settings(session_max_age=100).session_renew_interval == 10
    assert Settings(session_max_age=100, session_renew_interval=5).session_renew_interval == 5


def test_none_in_code_leaves_it_to_the_other_settings() -> None:
    settings = production(
        redis_sentinels="10.0.0.1:26379", redis_write_replicas=None, session_name=None, session_renew_interval=None,
        redis_sentinel_tls=None,
    )  # fmt: skip
    assert settings == production(redis_sentinels="10.0.0.1:26379")
    assert (settings.redis_write_replicas, settings.session_name, settings.session_renew_interval) == (1, "__Host-session", 60)
    assert settings.redis_sentinel_tls is False


@pytest.mark.parametrize(
    ("given", "listener"),
    [
        ({}, (None, None)),
        ({"host": "localhost"}, (None, None)),
        ({"host": "::1"}, (None, None)),
        ({"host": "0.0.0.0"}, ("127.0.0.1", 9464)),
        ({"host": "192.0.2.1", "metrics_port": 9090}, ("127.0.0.1", 9090)),
        ({"metrics_port": 9090}, ("127.0.0.1", 9090)),
        ({"metrics_host": "192.0.2.1"}, ("192.0.2.1", 9464)),
    ],
)
def test_metrics_have_a_listener_of_their_own_where_others_reach_the_public_one(given: dict[str, Any], listener: object) -> None:
    settings = Settings(**given)
    assert (settings.metrics_host, settings.metrics_port) == listener


def test_every_implied_setting_has_a_value_of_its_type() -> None:
    may_be_none = {"redis_sentinel_tls_ca", "redis_sentinel_tls_cert", "redis_sentinel_tls_key", "redis_sentinel_tls_server_name"}
    may_be_none |= {"metrics_host", "metrics_port"}
    without_mail = {"public_url", "mail_url", "mail_from"}
    may_be_none_embedded, may_be_none = may_be_none, may_be_none | without_mail
    assert {name for name in IMPLIED if getattr(Settings(), name) is None} == may_be_none_embedded
    for settings in (production(redis_host="redis"), production(redis_sentinels="10.0.0.1:26379")):
        assert {name for name in IMPLIED if getattr(settings, name) is None} == may_be_none
    types = {name: str(Settings.model_fields[name].annotation) for name in IMPLIED}
    assert {name for name, type_ in types.items() if "None" in type_ or "Optional" in type_} == may_be_none


def test_the_default_of_degraded_mode_gives_way_to_a_shorter_session() -> None:
    assert Settings(session_max_age=100).degraded_max_age == 100
    assert Settings().degraded_max_age == 300


class TestTls:
    def test_sentinels_are_reached_as_the_servers_unless_said(self, tmp_path: Path) -> None:
        ca, other = tmp_path / "ca.pem", tmp_path / "other.pem"
        ca.touch()
        other.touch()
        shared: dict[str, Any] = {
            "redis_sentinels": "10.0.0.1:26379",
            "redis_tls": True,
            "redis_tls_ca": ca,
            "redis_tls_server_name": "redis",
        }
        same = production(**shared)
        assert same.redis_sentinel_tls is True
        assert (same.redis_sentinel_tls_ca, same.redis_sentinel_tls_server_name) == (ca, "redis")
        own = production(**shared, redis_sentinel_tls_ca=other)
        assert (own.redis_sentinel_tls_ca, own.redis_sentinel_tls_server_name) == (other, "redis")
        assert production(**shared, redis_sentinel_tls=False).redis_sentinel_tls is False

    def test_an_authority_without_tls_is_refused_rather_than_ignored(self, tmp_path: Path) -> None:
        ca = tmp_path / "ca.pem"
        ca.touch()
        assert refused(redis_host="redis", redis_tls_ca=ca) == (
            "REDIS_TLS_CA: has no effect without TLS; set REDIS_TLS=true, or unset it"
        )
        assert not production(redis_host="redis", redis_tls_ca=ca, redis_tls=False).redis_tls
        assert production(redis_url="rediss://redis", redis_tls_ca=ca).redis_tls_ca == ca
        assert production(redis_sentinels="10.0.0.1:26379", redis_sentinel_tls=True, redis_tls_ca=ca).redis_sentinel_tls_ca == ca

    def test_a_key_needs_its_certificate(self, tmp_path: Path) -> None:
        key = tmp_path / "key.pem"
        key.touch()
        assert refused(redis_host="redis", redis_tls=True, redis_tls_key=key) == (
            "REDIS_TLS_KEY: REDIS_TLS_CERT, the certificate of this key, is not set; set both or neither"
        )


class TestCookies:
    @pytest.mark.parametrize(
        ("values", "name"),
        [
            ({}, "__Host-session"),
            ({"cookie_domain": "example.com"}, "__Secure-session"),
            ({"cookie_path": "/app"}, "__Secure-session"),
            ({"cookie_secure": False}, "session_id"),
            ({"session_name": "sid"}, "sid"),
        ],
    )
    def test_the_name_promises_what_the_attributes_keep(self, values: dict[str, Any], name: str) -> None:
        assert production(redis_host="redis", **values).session_name == name

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (
                {"session_name": "__Host-x", "cookie_domain": "example.com"},
                "SESSION_NAME: a name with __Host- excludes COOKIE_DOMAIN",
            ),
            ({"session_name": "__Host-x", "cookie_path": "/app"}, "SESSION_NAME: a name with __Host- requires COOKIE_PATH=/"),
            ({"session_name": "__Host-x", "cookie_secure": False}, "SESSION_NAME: browsers drop a cookie named __Host-x"),
            ({"session_name": "__Secure-x", "cookie_secure": False}, "SESSION_NAME: browsers drop a cookie named __Secure-x"),
            ({"cookie_samesite": "None", "cookie_secure": False}, "COOKIE_SAMESITE: None requires a Secure cookie"),
            (
                {"cookie_partitioned": True, "cookie_secure": False},
                "COOKIE_PARTITIONED: browsers drop a partitioned cookie",
            ),
            ({"cookie_partitioned": True}, "COOKIE_PARTITIONED: requires COOKIE_SAMESITE=None, because browsers send"),
            (
                {"cookie_partitioned": True, "cookie_samesite": "Lax"},
                "COOKIE_PARTITIONED: requires COOKIE_SAMESITE=None, because browsers send",
            ),
            ({"cookie_former": "example.com"}, "COOKIE_FORMER: a cookie named __Host-session cannot have had"),
            ({"cookie_former": "/app"}, "COOKIE_FORMER: a cookie named __Host-session cannot have had"),
        ],
    )
    def test_what_browsers_would_drop_is_refused(self, values: dict[str, Any], words: str) -> None:
        line = refused(redis_host="redis", **values)
        assert line.startswith(words)
        assert "; " in line

    def test_a_partitioned_cookie_is_for_frames_of_other_sites(self) -> None:
        settings = production(redis_host="redis", cookie_partitioned=True, cookie_samesite="none", cookie_former="/ partitioned, /")
        assert (settings.session_name, settings.cookie_partitioned) == ("__Host-session", True)

    def test_places_of_former_cookies_are_a_domain_and_a_path(self) -> None:
        given = ".Example.com/app, example.com, /app, / Partitioned"
        assert production(redis_host="redis", session_name="sid", cookie_former=given).cookie_former == (
            ("example.com", "/app", False), ("example.com", "/", False), ("", "/app", False), ("", "/", True),
        )  # fmt: skip

    def test_only_the_embedded_mode_makes_a_key_of_its_own(self) -> None:
        assert refused(redis_host="redis", cookie_keys="") == (
            "COOKIE_KEYS: required if Redis is not embedded; make a key with `stateroom keys` and set it on every host"
        )

    @pytest.mark.parametrize("path", ["/app", "/ss", "/sso/deep", "/ssox"])
    def test_a_path_that_excludes_the_path_of_public_url_is_refused(self, path: str) -> None:
        line = refused(redis_host="redis", public_url="https://example.com/sso", cookie_path=path)
        assert line.startswith(f"COOKIE_PATH: browsers do not send a cookie of {path} to /sso, the path of PUBLIC_URL; set")

    @pytest.mark.parametrize("path", ["/", "/sso", "/sso/"])
    def test_a_path_that_includes_the_path_of_public_url_is_taken(self, path: str) -> None:
        assert production(redis_host="redis", public_url="https://example.com/sso", cookie_path=path).cookie_path == path

    @pytest.mark.parametrize(
        ("path", "login_url"),
        [
            ("/app", "/.stateroom/login"),
            ("/app", "/application/login"),
            ("/app", "https://login.example.com/login"),
            ("/login", "/login"),
        ],
    )
    def test_a_path_that_excludes_the_pages_beside_login_url_is_refused(self, path: str, login_url: str) -> None:
        line = refused(redis_host="redis", login_url=login_url, cookie_path=path)
        assert line.startswith(f"COOKIE_PATH: browsers do not send a cookie of {path} to {login_url}, LOGIN_URL,")

    @pytest.mark.parametrize(
        ("path", "login_url"),
        [("/", "/.stateroom/login"), ("/app", "/app/login"), ("/app/", "https://login.example.com/app/sso/login")],
    )
    def test_a_path_that_includes_the_pages_beside_login_url_is_taken(self, path: str, login_url: str) -> None:
        assert production(redis_host="redis", login_url=login_url, cookie_path=path).cookie_path == path

    def test_a_public_url_without_a_path_says_nothing_of_the_path_of_the_cookie(self) -> None:
        assert production(redis_host="redis", public_url="https://example.com", cookie_path="/app").cookie_path == "/app"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"redis_mode": "sentinel"}, "REDIS_SENTINELS: required with REDIS_MODE=sentinel; for example 10.0.0.1:26379"),
        ({"redis_mode": "cluster"}, "REDIS_CLUSTER_NODES: required with REDIS_MODE=cluster; for example 10.0.0.1:6379"),
        ({"redis_cluster_nodes": "10.0.0.1:6379", "redis_db": 1}, "REDIS_DB: Redis Cluster has only database 0; unset"),
        (
            {"redis_sentinels": "10.0.0.1:26379", "redis_cluster_nodes": "10.0.0.1:6379"},
            "REDIS_SENTINELS: REDIS_CLUSTER_NODES is set too; unset one",
        ),
        (
            {"redis_url": f"redis://:{SECRET}@h", "redis_mode": "sentinel", "redis_sentinels": "a:1"},
            "REDIS_URL: names a single server",
        ),
        (
            {"redis_url": f"redis://:{SECRET}@h", "redis_host": "other"},
            "REDIS_URL: REDIS_HOST is set too; unset one",
        ),
        ({"redis_sentinels": "10.0.0.1:26379", "database_url": None}, "DATABASE_URL: required with REDIS_MODE=sentinel"),
        ({"redis_cluster_nodes": "10.0.0.1:6379", "database_url": None}, "DATABASE_URL: required with REDIS_MODE=cluster"),
        ({"journal_required": True}, "JOURNAL_REQUIRED: requires a user database, and DATABASE_URL is none; name one"),
        (
            {"metrics_host": "127.0.0.1", "metrics_port": 8080, "host": "127.0.0.1"},
            "METRICS_PORT: 8080 is the value of PORT already; give",
        ),
        (
            {"metrics_host": "10.0.0.1", "metrics_port": 8080, "host": "0.0.0.0"},
            "METRICS_PORT: 8080 is the value of PORT already; give",
        ),
        ({"redis_pool_size": 1}, "REDIS_MIN_IDLE: is more than REDIS_POOL_SIZE; lower REDIS_MIN_IDLE or raise REDIS_POOL_SIZE"),
        ({"session_absolute_max_age": 60}, "SESSION_MAX_AGE: is longer than SESSION_ABSOLUTE_MAX_AGE; lower it"),
    ],
)
def test_contradictions_are_told(values: dict[str, Any], words: str) -> None:
    line = refused(**values)
    assert line.startswith(words)
    assert SECRET not in line


@pytest.mark.parametrize("password", ["hu#sh", "hu/sh", "hu?sh", "hu[sh", "hu]sh", "12/sh", "12?sh", "12#sh", "h@u#sh"])
@pytest.mark.parametrize("user", ["user", ""])
def test_a_raw_special_character_in_the_url_gets_the_hint_to_encode_it(user: str, password: str) -> None:
    line = refused(redis_url=f"redis://{user}:{password}@redis.example.com:6379/1")
    assert line.startswith("REDIS_URL: its user or password seems to have a special character; percent-encode")
    assert "REDIS_PASSWORD" in line
    assert password not in line


@pytest.mark.parametrize("url", ["redis://::1:6379/0", "redis://fe80::1", "rediss://user:p%23w@2001:db8::7:6379/1"])
def test_an_ipv6_address_without_brackets_gets_the_hint_at_brackets(url: str) -> None:
    assert refused(redis_url=url).endswith("REDIS_URL: an IPv6 address needs brackets; write for example redis://[::1]:6379/0")


@pytest.mark.parametrize("url", ["redis://redis:6379/x", "redis://redis:port/0", "redis://u:p%23@redis?x=1", "redis://u:p@redis/a"])
def test_other_mistakes_in_the_url_get_no_such_hint(url: str) -> None:
    assert "percent-encode" not in refused(redis_url=url)


def test_the_word_none_for_no_database_counts_in_any_case() -> None:
    assert not Settings(database_url="None").has_database
    assert Settings(database_url="sqlite:///x.db").has_database
    assert Settings().has_database


class TestPublicUrl:
    @pytest.mark.parametrize(
        ("value", "url", "path"),
        [
            ("https://example.com", "https://example.com", ""),
            ("https://Example.com/", "https://example.com", ""),
            ("https://example.com/\n", "https://example.com", ""),
            ("https://example.com/sso/\n", "https://example.com/sso", "/sso"),
            ("https://example.com/sso", "https://example.com/sso", "/sso"),
            ("https://example.com:443/sso/", "https://example.com/sso", "/sso"),
            ("https://sso.example.com:8443/sso", "https://sso.example.com:8443/sso", "/sso"),
            ("http://[::1]/A-b._~/1", "http://[::1]/A-b._~/1", "/A-b._~/1"),
            ("https://example.com/.stateroom", "https://example.com/.stateroom", "/.stateroom"),
        ],
    )
    def test_it_is_an_origin_and_a_path_without_a_slash_at_its_end(self, value: str, url: str, path: str) -> None:
        settings = Settings(public_url=value)
        assert (settings.public_url, settings.public_path) == (url, path)
        assert f"{settings.public_origin}{path}" == url
        assert settings.deployment == settings.public_origin

    @pytest.mark.parametrize(
        "path", ["/.", "/..", "/a/../b", "//a", "/a//b", "/a//", "/%61", "/a%2Fb", "/a;b", "/a b", "/\u00e4", "/a:b", "/@"]
    )
    def test_a_path_that_can_be_read_in_two_ways_is_refused(self, path: str) -> None:
        line = refusal(public_url=f"https://example.com{path}")
        assert line.startswith("PUBLIC_URL: has a path that browsers, proxies and servers may read differently; use letters")
