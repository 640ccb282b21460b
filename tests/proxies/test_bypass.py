"""Generated requests through each proxy: none reaches a path that its sender may not, or with an identity that is not the sender's.

More of them by hand: `python -m tests.proxies.bypass.search --requests 10000 --seed 2`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .bypass.judge import NOBODY, Sender, complaint, readings
from .bypass.plain import Arrival
from .bypass.search import Change, Findings, search, street
from .shipped import COMMANDS

SEED, REQUESTS = 1, 300
TO_FIND_A_WEAKNESS = 600
STAFF = Sender({"remote-user": "7", "remote-groups": "staff"}, is_staff=True, secrets=("sealed",))
GUEST = Sender({"remote-user": "8"}, is_staff=False)
AS_STAFF = "Remote-User: 7\r\nRemote-Groups: staff"


async def found(proxy: str, folder: Path, requests: int, change: Change = str) -> Findings:
    async with street(proxy, folder, change) as made:
        return await search(made, SEED, requests)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("proxy", COMMANDS)
async def test_no_request_reaches_what_its_sender_may_not(proxy: str, tmp_path: Path) -> None:
    seen = await found(proxy, tmp_path, REQUESTS)
    assert not seen.complaints, "\n\n".join([str(seen), *seen.complaints])
    for expected in ("nobody /open", "nobody /read", "guest /open", "member /group", "member /open", "member staff.test"):
        assert any(what.startswith(expected) for what in seen.arrived), f"no request of {expected} arrived: {seen}"
    assert {what.rpartition(" ")[2] for what in seen.arrived} == {"HTTP/1", "HTTP/2"}, str(seen)
    assert all(seen.statuses[status] for status in (200, 302, 400, 401, 403, 421)), str(seen)


WEAK: dict[str, tuple[str, Change, str]] = {
    "the client's groups are left to it": (
        "Caddy",
        lambda text: text.replace("\trequest_header -Remote*\n", "").replace(" Remote-Groups ", " "),
        "'remote-groups': [",
    ),
    "a prefix is open at the proxy, which does not decode paths": (
        "Envoy",
        lambda text: text.replace("{prefix: /.stateroom/}", "{prefix: /open/}").replace(
            "cluster: stateroom, timeout: 10s", "cluster: app"
        ),
        "of 'app.test', which nobody may not",
    ),
    "a host that is not named goes to the application for staff": (
        "nginx",
        lambda text: text.replace("    app.test app;\n", "").replace('default "";', "default wiki;", 1),
        "read as for 'app.test', it reached the application of 'staff.test'",
    ),
    "any upgrade is passed on": (
        "nginx",
        lambda text: text.replace('"~*^websocket$" websocket;\n    default "";', "default $http_upgrade;").replace(
            'websocket upgrade;\n    default "";', 'default upgrade;\n    "" "";'
        ),
        "the identity is {'remote-user': ['1']}",
    ),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("weakness", WEAK)
async def test_the_search_finds_a_weakness(weakness: str, tmp_path: Path) -> None:
    proxy, change, words = WEAK[weakness]
    seen = await found(proxy, tmp_path, TO_FIND_A_WEAKNESS, change)
    assert any(words in each for each in seen.complaints), "\n\n".join([str(seen), *seen.complaints])


@pytest.mark.parametrize(
    ("target", "reading"),
    [
        ("/open/../denied", "/denied"),
        ("/open/%2e%2e%2fdenied", "/denied"),
        ("/open/%252e%252e/denied", "/denied"),
        ("/open/..;a=b/denied", "/denied"),
        ("/open/..\\denied", "/denied"),
        ("//denied///a", "/denied/a"),
        ("/DENIED", "/denied"),
        ("/denied%3f/../../open", "/denied"),
        ("/denied%00.png", "/denied"),
        ("http://app.test/denied?a=/open", "/denied"),
    ],
)
def test_the_judge_reads_a_path_as_careless_applications_do(target: str, reading: str) -> None:
    assert reading in readings(target)


def arrival(target: str, lines: str = "", host: str = "app.test") -> Arrival:
    return Arrival.read(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}".encode())


@pytest.mark.parametrize(
    ("arrived", "sender"),
    [
        (arrival("/open/a"), NOBODY),
        (arrival("/open/a?b=/../../denied", "Remote-User: \r\nRemote-Email: "), NOBODY),
        (arrival("/group/a", AS_STAFF), STAFF),
        (arrival("/", AS_STAFF, "staff.test"), STAFF),
        (arrival("/read/a", "Remote-User: 8"), GUEST),
        (arrival("/read/a", "Connection: Upgrade\r\nUpgrade: websocket"), GUEST),
        (arrival("/open/a"), GUEST),
    ],
)
def test_the_judge_accepts_what_is_right(arrived: Arrival, sender: Sender) -> None:
    assert complaint(arrived, [sender], arrived.values("host")[0]) == ""


@pytest.mark.parametrize(
    ("arrived", "sender"),
    [
        (arrival("/group/a"), NOBODY),
        (arrival("/group/a"), STAFF),
        (arrival("/group/a", "Remote-User: 8"), GUEST),
        (arrival("/open/..%2fgroup/a"), NOBODY),
        (arrival("/open/a", "Remote-User: 7"), NOBODY),
        (arrival("/open/a", "Remote_User: 1"), NOBODY),
        (arrival("/open/a", "Remote.Groups: staff\r\nRemote-User: 8"), GUEST),
        (arrival("/open/a", "Remote-Assertion: e30.eyJzdWIiOiI3In0.e30\r\nRemote-User: 8"), GUEST),
        (arrival("/open/a", f"{AS_STAFF}\r\nRemote-User: 7"), STAFF),
        (arrival("/open/a", f"{AS_STAFF}\r\nX-Api-Key: sealed"), STAFF),
        (arrival("/open/a", "X-Rewrite-URL: /denied/a"), NOBODY),
        (arrival("/open/a", "Connection: close, Remote-User\r\nRemote-User: 8"), GUEST),
        (arrival("/open/a", "X-Forwarded-Host: staff.test"), NOBODY),
        (arrival("/read/a", "X_HTTP_Method_Override: DELETE"), NOBODY),
        (arrival("/open/a", "", "staff.test"), NOBODY),
        (arrival("http://staff.test/open/a"), NOBODY),
        (arrival("/denied/a", AS_STAFF), STAFF),
        (arrival("/", AS_STAFF, "staff.test"), STAFF),
    ],
)
def test_the_judge_complains_about_what_is_wrong(arrived: Arrival, sender: Sender) -> None:
    assert complaint(arrived, [sender], "app.test")
