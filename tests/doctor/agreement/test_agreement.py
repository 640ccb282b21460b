"""Where the service works, the doctor finds no fault, and where it does not work, the doctor says why.

Each case is a situation from the field: a place, settings, what the service does there, and the fault that the doctor finds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest

from stateroom.doctor import reach
from stateroom.sessions.sealing.key_ring import new_key
from stateroom.settings import Settings

from ...servers import ServerThread
from .places import COMMANDS, ODD_PASSWORD, Places
from .verdicts import FAILS, STOPS, WORKS, doctor, service


@dataclass(frozen=True)
class Case:
    """`given`: settings; a value `file:OWNER` is the file of that owner. `finding`: the doctor's first fault.

    `how`: what the service does; None if that depends on the release, and only the agreement counts.
    `fix`: words of the fix, which the doctor and the service name.
    """

    what: str
    place: str
    given: dict[str, Any]
    how: str | None
    finding: str = ""
    fix: str = ""


def pair(owner: str, prefix: str = "redis_tls") -> dict[str, Any]:
    """A client certificate and its key."""
    return {f"{prefix}_cert": f"file:{owner}", f"{prefix}_key": f"file:{owner}"}


OURS = pair("ours")
RESP3 = {"session_cache_max_age": 5}
SIGN_IN = "sentinel-credentials"
THEIRS_THERE = pair("theirs", "redis_sentinel_tls")
OTHER_NAME = {"redis_tls_server_name": "a.example.com"}
APP = {"redis_username": "app", "redis_password": ODD_PASSWORD}
APP_URL = {"redis_url": f"redis://app:{quote(ODD_PASSWORD, safe='')}@"}
BOB = {"redis_username": "bob", "redis_password": "x"}
DEFAULT = {"redis_username": "default", "redis_password": "x"}
IMPATIENT = {"redis_dial_timeout": 1}
WATCH = {"redis_sentinel_password": "watch"}
NO_TLS = {"redis_tls": False}
SET_TLS = "if the server uses TLS, set REDIS_TLS=true (or begin REDIS_URL with rediss://); if not"
PLAIN_URL = "begin REDIS_URL with redis:// instead of rediss://"
NEEDED = {"ROLE", "EVALSHA", "EVAL", "TIME", "PTTL", "PING"}
"""The commands without which the service does not work. The shipped settings for one server need no WAIT and no SELECT."""

CASES = [
    # the situation                          where            settings                                 the service, the doctor
    Case("no password anywhere",             "open",          {},                                      WORKS),
    Case("a password, the server has none",  "open",          {"redis_password": "x"},                 STOPS, "server-credentials"),
    Case("the same with HELLO, which takes", "open",          {"redis_password": "x"} | RESP3,         WORKS),
    Case("the same with a user, taken too",  "open",          DEFAULT,                                 WORKS),
    Case("a user that does not exist",       "open",          BOB,                                     STOPS, "server-credentials"),
    Case("no password, the server has one",  "locked",        {},                                      STOPS, "server-credentials"),
    Case("the same with HELLO",              "locked",        RESP3,                                   STOPS, "server-credentials"),
    Case("a wrong password",                 "locked",        {"redis_password": "x"},                 STOPS, "server-credentials"),
    Case("a password with odd characters",   "odd",           APP,                                     WORKS),
    Case("the same, in the URL",             "odd",           APP_URL,                                 WORKS),
    Case("database 3",                       "open",          {"redis_db": 3},                         WORKS),
    Case("database 99, which is not there",  "open",          {"redis_db": 99},                        STOPS, "server-database"),
    Case("protected mode",                   "protected",     {},                                      FAILS, "server-unreachable"),
    Case("IPv6",                             "ipv6",          {},                                      WORKS),
    Case("Redis 6.2",                        "old",           {},                                      STOPS, "version"),
    *(
        Case(f"{name} forbidden", f"forbidding {name.lower()}", {}, *((FAILS, "rights") if name in NEEDED else (WORKS,)))
        for name in COMMANDS
    ),
    *(
        Case(f"no {name}", f"lacking {name}", {}, *((FAILS, "rights") if name in NEEDED else (WORKS,)))
        for name in COMMANDS if name != "PING"  # without PING a server cannot be started by these tests
    ),
    Case("WAIT forbidden, and replicas wait","forbidding wait",{"redis_write_replicas": 1},            FAILS, "rights"),
    Case("SELECT forbidden, and database 3", "forbidding select", {"redis_db": 3},                     FAILS, "rights"),
    Case("CLIENT forbidden, and a near cache","forbidding client", RESP3,                              WORKS),
    Case("no HELLO, and a near cache",       "lacking HELLO", RESP3,                                   None, "rights"),
    *(
        case
        for version in ("TLSv1.2", "TLSv1.3")
        for case in (
            Case(f"{version}, our certificate",        f"mutual {version}", OURS,                      WORKS),
            Case(f"{version}, no client certificate",  f"mutual {version}", {},                        FAILS, "server-tls"),
            Case(f"{version}, the same with HELLO",    f"mutual {version}", RESP3,                     FAILS, "server-tls"),
            Case(f"{version}, another authority's",    f"mutual {version}", pair("theirs"),                FAILS, "server-tls"),
            Case(f"{version}, an expired certificate", f"mutual {version}", pair("old"),                  FAILS, "server-tls"),
            Case(f"{version}, no CA (self-signed)", f"mutual {version}", OURS | {"redis_tls_ca": None}, FAILS, "server-tls"),
            Case(f"{version}, another server name",    f"mutual {version}", OURS | OTHER_NAME, FAILS, "server-tls"),
            Case(f"{version}, no TLS",                 f"mutual {version}", NO_TLS,      FAILS, "server-unreachable", SET_TLS),
        )
    ),
    Case("redis://, the server has TLS", "mutual TLSv1.3", NO_TLS | {"redis_url": "redis://"},
         FAILS, "server-unreachable", SET_TLS),
    Case("TLS, the server has none", "open", {"redis_tls": True} | IMPATIENT,
         FAILS, "server-unreachable", "unset REDIS_TLS"),
    Case("rediss://, the server has no TLS", "open", {"redis_url": "rediss://"} | IMPATIENT,
         FAILS, "server-unreachable", PLAIN_URL),
    Case("TLS asked for twice, the server has none", "open", {"redis_url": "rediss://", "redis_tls": True} | IMPATIENT,
         FAILS, "server-unreachable", f"unset REDIS_TLS and {PLAIN_URL}"),
    Case("Sentinels with TLS, asked without", "mutual_sentinels", OURS | {"redis_sentinel_tls": False},
         FAILS, "sentinel-unreachable", "if the Sentinel uses TLS, set REDIS_SENTINEL_TLS=true; if not"),
    Case("TLS, the Sentinels have none", "sentinels", WATCH | {"redis_sentinel_tls": True} | IMPATIENT,
         FAILS, "sentinel-unreachable", "unset REDIS_SENTINEL_TLS"),
    Case("TLS, neither Sentinels nor servers have it", "sentinels", WATCH | {"redis_tls": True} | IMPATIENT,
         FAILS, "sentinel-unreachable", "set REDIS_SENTINEL_TLS=false (REDIS_TLS applies to the Sentinels too)"),
    Case("a key with a pass phrase",         "mutual TLSv1.3",pair("locked"),                          STOPS),
    Case("Sentinels, no client certificate", "mutual_sentinels", {},                                   FAILS, "sentinel-tls"),
    Case("Sentinels, another authority's",   "mutual_sentinels", OURS | THEIRS_THERE,           FAILS, "sentinel-tls"),
    Case("Sentinels, no servers' certificate", "mutual_sentinels", pair("ours", "redis_sentinel_tls"), FAILS, "server-tls"),
    Case("Sentinels, our certificate",       "mutual_sentinels", OURS,                                 WORKS),
    Case("Sentinels with a password",        "sentinels",     WATCH,                                   WORKS),
    Case("Sentinels, database 3",            "sentinels",     WATCH | {"redis_db": 3},                 WORKS),
    Case("Sentinels' password missing",      "sentinels",     {},                                      FAILS, SIGN_IN),
    Case("only the servers' password",       "sentinels",     {"redis_password": "x"},                 FAILS, SIGN_IN),
    Case("the primary's name in other case", "sentinels",     WATCH | {"redis_master_name": "MyMaster"}, FAILS, "master-name"),
    Case("one Sentinel without host names",  "by_name",       {},                                      WORKS),
    Case("three Sentinels, three primaries", "three_primaries", {},                                    FAILS, "no-majority"),
    Case("a Cluster with host names",        "cluster with",  {},                                      WORKS),
    Case("host names asked for, none given", "cluster without", {},                                    FAILS, "no-address"),
]  # fmt: skip


@pytest.fixture(scope="module")
def places(thread: ServerThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    # These cases measure no time, and a busy machine is no fault.
    with mock.patch.multiple(reach, LONGEST_SECONDS=5.0, LOOK_SECONDS=20.0):
        yield Places(thread, tmp_path_factory.mktemp("places"))


def settings_of(case: Case, places: Places, folder: Path) -> Settings:
    given = dict(places.settings(case.place))
    for name, value in case.given.items():
        owner = str(value).removeprefix("file:")
        given[name] = places.file(owner, name.rpartition("_")[2]) if str(value).startswith("file:") else value
    if "redis_url" in given:
        given["redis_url"] += f"{given.pop('redis_host')}:{given.pop('redis_port')}"
    own = {
        "_env_file": None, "cookie_keys": new_key(), "cookie_secure": False, "session_name": "session_id", "state_dir": folder,
        "database_url": f"sqlite:///{folder}/users.db", "bcrypt_rounds": 4, "password_blocklist": "off",
        "redis_key_prefix": f"session-{secrets.token_hex(4)}", "redis_dial_timeout": 5, "redis_read_timeout": 5,
        "redis_write_replicas": 0,
    }  # fmt: skip
    return Settings(**(own | given))


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
async def test_the_service_and_the_doctor_agree(case: Case, places: Places, tmp_path: Path) -> None:
    settings = settings_of(case, places, tmp_path)
    seen = await service(settings, should_work=case.how == WORKS)
    said = await doctor(settings)
    assert (seen.how == WORKS) is said.is_good, (seen, said)
    if case.how is not None:
        assert seen.how == case.how, seen
    if said.faults and case.finding:
        first = said.faults[0]
        assert first.check == case.finding, said.faults
        assert case.fix in first.fix
        if seen.how == STOPS and case.how is not None:
            assert f"{first.what}; {first.fix}" in seen.words
        if seen.fix and "its certificate is for" not in first.fix:  # only the doctor asks for the names
            assert first.fix in seen.fix
    if said.words:
        assert said.words == seen.words
