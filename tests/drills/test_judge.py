"""The judge finds each kind of fault, and finds none in a good drill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stateroom.drills.client import PROFILE_EVERY, Client
from stateroom.drills.judge import judge, weigh
from stateroom.drills.ledger import Answer, Ledger, RevivedSession, SignedIn, Write
from stateroom.drills.standstill import Standstills


class Answers:
    """A service whose answer for each cookie is set by the test."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, int]] = {}
        self.listed: list[str] = []

    def app(self) -> web.Application:
        async def check(request: web.Request) -> web.Response:
            state = self.states.get(request.cookies["session_id"], {})
            return web.json_response({"authenticated": False, "degraded": False} | state)

        async def data(request: web.Request) -> web.Response:
            return web.json_response({"data": self.data.get(request.cookies["session_id"], {})})

        async def login(request: web.Request) -> web.Response:
            response = web.json_response({})
            response.set_cookie("session_id", "the judge's")
            return response

        async def sessions(request: web.Request) -> web.Response:
            return web.json_response({"sessions": [{"id": handle} for handle in self.listed]})

        app = web.Application()
        app.add_routes(
            [
                web.get("/api/auth/check", check), web.get("/drill/data", data), web.post("/api/auth/login", login),
                web.get("/api/sessions", sessions),
            ]
        )  # fmt: skip
        return app


@pytest.fixture
async def service() -> AsyncIterator[tuple[Answers, list[str]]]:
    answers = Answers()
    async with TestServer(answers.app()) as server:
        yield answers, [str(server.make_url("")).rstrip("/")] * 2


def test_what_kept_the_client_itself_is_no_wait() -> None:
    verdict = weigh(Ledger([Answer("read", 0, 1.0, 1.3, 200, stood_still=1.0)]))
    assert verdict.slowest["read"] == pytest.approx(0.3)
    assert verdict.faults() == []


async def test_a_standstill_is_known_to_whom_it_wakes() -> None:
    standstills, loop = Standstills(), asyncio.get_running_loop()
    async with standstills.watching():
        await asyncio.sleep(0)
        begun = time.monotonic()
        woken = loop.create_future()
        loop.call_soon(woken.set_result, None)
        time.sleep(0.2)  # noqa: ASYNC251 (the test wants a standstill)
        await woken
        now = time.monotonic()
        assert standstills.within(begun, now) == pytest.approx(0.2, abs=0.03)
        while not standstills.spans:
            await asyncio.sleep(0)
    assert standstills.longest == pytest.approx(0.2, abs=0.05)
    assert standstills.within(begun, now) == pytest.approx(0.2, abs=0.03)
    assert standstills.within(now + 1, now + 2) == 0


@pytest.mark.parametrize(("waited", "blocked"), [(0.0, 0.2), (0.1, 0.1), (0.19, 0.0)])
async def test_what_a_call_blocked_is_told_from_waiting_for_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: float, blocked: float
) -> None:
    told = tmp_path / "schedstat"
    told.write_text("5 0 1\n", encoding="ascii")
    monkeypatch.setattr("stateroom.drills.standstill.SCHEDULER", told)
    standstills = Standstills()
    async with standstills.watching():
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 (the test wants a standstill)
        told.write_text(f"5 {round(waited * 1e9)} 2\n", encoding="ascii")
        while not standstills.spans:
            await asyncio.sleep(0)
    assert standstills.longest_blocked == pytest.approx(blocked, abs=0.04)


def signed_in(cookie: str = "a", **changes: Any) -> SignedIn:
    return SignedIn("ada@example.com", cookie, 1.0, is_degraded=False, handle=f"handle-{cookie}", **changes)


def test_answers_are_weighed() -> None:
    good = [
        Answer("read", 0, 1.0, 0.1, 200),
        Answer("write", 0, 1.0, 0.2, 503),
        Answer("login", 1, 1.0, 0.9, 200, is_degraded=True),
    ]
    verdict = weigh(Ledger(good))
    assert verdict.faults() == []
    assert (verdict.degraded, verdict.slowest["login"], verdict.requests["read"]) == (1, 0.9, 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer("read", 0, 1.0, 0.1, 503, words="session storage degraded"),
            "1 request refused, the first a session check with 503",
        ),
        (Answer("login", 0, 1.0, 0.1, 500), "refused"),
        (Answer("logout", 0, 1.0, 0.1, 0, words="ClientOSError"), "refused"),
        (Answer("read", 0, 1.0, 0.1, 200, is_out=True), "1 response told a signed-in user that nobody is signed in"),
        (Answer("read", 0, 1.0, 1.1, 200), "a session check took 1.10 s"),
        (Answer("logout", 0, 1.0, 1.6, 200), "a sign-out took 1.60 s"),
    ],
)
def test_each_fault_of_an_answer_is_seen(answer: Answer, words: str) -> None:
    [fault] = weigh(Ledger([answer])).faults()
    assert words in fault


def test_a_logout_may_take_longer_than_a_read() -> None:
    assert weigh(Ledger([Answer("logout", 0, 1.0, 1.4, 200)])).faults() == []


async def test_live_sessions_must_be_good_everywhere(service: tuple[Answers, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stateroom.drills.judge.GRACE_SECONDS", 0.1)
    answers, urls = service
    ledger = Ledger(sessions=[signed_in("a"), signed_in("b"), signed_in("c", logout_asked_at=2.0)])
    answers.states = {"a": {"authenticated": True}, "b": {"authenticated": True}}
    assert (await judge(ledger, urls)).faults() == []
    answers.states = {"a": {"authenticated": True}, "b": {"authenticated": True, "degraded": True}}
    verdict = await judge(ledger, urls)
    assert [session.cookie for session in verdict.lost] == ["b"]
    answers.states = {"a": {"authenticated": True}}
    assert len((await judge(ledger, urls)).lost) == 1


async def test_a_store_that_is_away_at_this_moment_has_lost_nothing_yet(service: tuple[Answers, list[str]]) -> None:
    answers, urls = service
    answers.states = {"a": {"authenticated": True, "degraded": True}}
    asyncio.get_running_loop().call_later(0.2, answers.states.update, {"a": {"authenticated": True}})
    assert (await judge(Ledger(sessions=[signed_in("a")]), urls)).lost == []


async def test_ended_sessions_must_be_gone_from_workers_and_store(service: tuple[Answers, list[str]]) -> None:
    answers, urls = service
    ended = signed_in("a", logout_asked_at=2.0, ended_at=2.1)
    assert (await judge(Ledger(sessions=[ended]), urls)).faults() == []
    answers.states = {"a": {"authenticated": True}}
    assert "1 ended session accepted or stored again" in (await judge(Ledger(sessions=[ended]), urls)).faults()
    answers.states = {}
    answers.listed = ["handle-a"]
    assert "1 ended session accepted or stored again" in (await judge(Ledger(sessions=[ended]), urls)).faults()
    answers.listed = []
    seen_meanwhile = Ledger(sessions=[ended], revived=[RevivedSession(ended, 1, 0.2)])
    assert "1 ended session accepted or stored again" in (await judge(seen_meanwhile, urls)).faults()


async def test_lost_writes_are_counted(service: tuple[Answers, list[str]]) -> None:
    answers, urls = service
    writes = {"kept": Write(3, 1.0), "older": Write(3, 2.0), "gone": Write(1, 3.0), "newer": Write(3, 4.0)}
    answers.states = {"a": {"authenticated": True}}
    answers.data = {"a": {"kept": 3, "older": 2, "newer": 4}}
    verdict = await judge(Ledger(sessions=[signed_in("a", writes=writes)]), urls)
    assert {lost.key for lost in verdict.lost_writes} == {"older", "gone"}
    assert verdict.faults() == []


async def test_an_answer_that_names_another_user_is_seen(service: tuple[Answers, list[str]]) -> None:
    answers, urls = service
    answers.states = {"a": {"authenticated": True, "user_id": 8}}
    verdict = await judge(Ledger(sessions=[signed_in("a", user_id=7)]), urls)
    assert verdict.faults() == ["0 responses and 1 session named another user than the client's own"]
    answers.states = {"a": {"authenticated": True, "user_id": 7}}
    seen = Ledger([Answer("read", 0, 1.0, 0.1, 200, is_another=True)], [signed_in("a", user_id=7)])
    assert (await judge(seen, urls)).faults() == ["1 response and 0 sessions named another user than the client's own"]


def test_an_id_that_two_users_have_is_seen() -> None:
    bob = SignedIn("bob@example.com", "b", 2.0, is_degraded=False, user_id=7)
    verdict = weigh(Ledger(sessions=[signed_in("a", user_id=7), signed_in("c", user_id=7), bob]))
    assert verdict.shared == {7: ["ada@example.com", "bob@example.com"]}
    assert verdict.faults() == ["1 user id given to several users"]


async def test_a_session_without_an_account_must_end_and_is_not_lost(service: tuple[Answers, list[str]]) -> None:
    answers, urls = service
    ledger = Ledger(sessions=[signed_in("a", user_id=7, is_account_lost=True)])
    assert (await judge(ledger, urls)).faults() == []
    answers.states = {"a": {"authenticated": True, "user_id": 7}}
    assert (await judge(ledger, urls)).faults() == ["1 session accepted whose user is missing in the restored user database"]


async def test_a_client_knows_its_own_account() -> None:
    user = {"id": 7, "email": "ada@example.com"}

    async def register(_: web.Request) -> web.Response:
        return web.json_response({"user": user}, status=201)

    async def profile(_: web.Request) -> web.Response:
        return web.json_response({"user": user, "session": {"id": "handle"}})

    async def check(_: web.Request) -> web.Response:
        return web.json_response({"authenticated": False, "user_id": 0, "ended": "unknown-user"})

    app = web.Application()
    app.add_routes([web.post("/api/auth/register", register), web.get("/api/profile", profile), web.get("/api/auth/check", check)])
    async with TestServer(app) as server, Client([str(server.make_url("")).rstrip("/")], 0, "ada@example.com") as client:
        assert await client.register()
        user["id"] = 8
        for _ in range(PROFILE_EVERY - 1):
            assert (await client.read()).is_out
        assert (await client.read()).is_another
        client.lose_account()
        answer = await client.read()
        assert (answer.is_out, answer.ended, client.session) == (False, "unknown-user", None)
        assert client.ledger.sessions[0].unknown_at is not None
        assert await client.register()
        assert client.user_id == 8
        user["email"] = "bob@example.com"
        assert await client.register()
    assert [each.is_another for each in client.ledger.answers if each.kind == "login"] == [False, False, True]


async def test_an_answer_to_a_request_from_before_the_sign_in_signs_nobody_out() -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def login(_: web.Request) -> web.Response:
        return web.json_response({"user": {"id": 7, "email": "ada@example.com"}})

    async def profile(_: web.Request) -> web.Response:
        return web.json_response({})

    async def check(_: web.Request) -> web.Response:
        is_asked.set()
        await may_answer.wait()
        return web.json_response({"authenticated": False})

    app = web.Application()
    app.add_routes([web.post("/api/auth/login", login), web.get("/api/profile", profile), web.get("/api/auth/check", check)])
    async with TestServer(app) as server, Client([str(server.make_url("")).rstrip("/")], 0, "ada@example.com") as client:
        early = asyncio.ensure_future(client.read())
        await is_asked.wait()
        assert await client.login()
        may_answer.set()
        assert not (await early).is_out
        assert (await client.read()).is_out
