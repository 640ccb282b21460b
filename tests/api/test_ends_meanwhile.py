"""All of a user's sessions are ended while a sign-in is under way. The sign-in counts as before the end or as after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stateroom import SESSIONS, DatabaseUnavailable, SessionManager
from stateroom.accounts import ACCOUNTS, Accounts

from ..conftest import ServiceClient

pytestmark = pytest.mark.usefixtures("counted_ids")

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
CREDENTIALS = {"email": ADA["email"], "password": ADA["password"]}
CHANGE = {"current_password": ADA["password"], "new_password": "a better horse"}
NEW_CREDENTIALS = CREDENTIALS | {"password": CHANGE["new_password"]}

Browser = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


class Service:
    """The service, with Ada signed in at two browsers, `owner` and `other`. Each keeps its newest cookie."""

    def __init__(self, client: ServiceClient) -> None:
        assert client.app is not None
        self._client = client
        self.accounts: Accounts = client.app[ACCOUNTS]
        self.sessions: SessionManager = client.app[SESSIONS]
        self.owner, self.other = self.browser(), self.browser()

    def browser(self) -> Browser:
        cookies: list[str] = []

        async def call(path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
            self._client.session.cookie_jar.clear()
            headers = {"Cookie": f"session_id={cookies[-1]}"} if cookies else {}
            method = "GET" if body is None else "POST"
            async with self._client.request(method, path, json=body, headers=headers) as response:
                if "session_id" in response.cookies:
                    cookies.append(response.cookies["session_id"].value)
                return response.status, await response.json(content_type=None)

        return call

    async def is_in(self, browser: Browser) -> bool:
        return bool((await browser("/api/auth/check"))[1]["authenticated"])

    async def count(self) -> int:
        return len(await self.sessions.list(1))


@pytest.fixture
async def ada(service: ServiceClient) -> Service:
    made = Service(service)
    assert (await made.owner("/api/auth/register", ADA))[0] == 201
    return made


def once(patch: pytest.MonkeyPatch, target: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    """Run something before or after the next call of this kind."""
    real = getattr(target, name)

    async def with_it(*args: Any, **kwargs: Any) -> Any:
        patch.setattr(target, name, real)
        if before is not None:
            await before()
        result = await real(*args, **kwargs)
        if after is not None:
            await after()
        return result

    patch.setattr(target, name, with_it)


async def fail(*_: Any, **__: Any) -> Any:
    raise DatabaseUnavailable("the connection broke")


@pytest.mark.parametrize("moment", ["verified", "about to be stored"])
@pytest.mark.parametrize("end", ["password", "disabled"])
async def test_a_sign_in_does_not_outlive_what_came_between(
    ada: Service, monkeypatch: pytest.MonkeyPatch, moment: str, end: str
) -> None:
    async def change() -> None:
        if end == "password":
            assert (await ada.owner("/api/auth/password", CHANGE))[0] == 200
        else:
            await ada.accounts.users.disable(1)
            await ada.sessions.revoke_all(1, reason="disabled")

    if moment == "verified":
        once(monkeypatch, ada.accounts, "authenticate", after=change)
    else:
        once(monkeypatch, ada.sessions._parts.store, "create", before=change)
    status, problem = await ada.other("/api/auth/login", CREDENTIALS)
    assert (status, problem["error"]) == (401, "invalid credentials")
    assert not await ada.is_in(ada.other)
    assert await ada.count() == (1 if end == "password" else 0)
    assert await ada.is_in(ada.owner) == (end == "password")


async def test_a_password_change_that_another_tab_overtakes_changes_nothing(ada: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await ada.other("/api/auth/login", CREDENTIALS))[0] == 200
    tab = ada.browser()
    assert (await tab("/api/auth/login", CREDENTIALS))[0] == 200

    async def overtake() -> None:
        [newest, *_] = await ada.sessions.list(1)
        await ada.sessions.revoke(1, newest.id)

    once(monkeypatch, ada.accounts, "change_password", after=overtake)
    assert (await tab("/api/auth/password", CHANGE))[0] == 401
    assert await ada.is_in(ada.owner)
    assert await ada.is_in(ada.other)
    assert (await ada.other("/api/auth/login", NEW_CREDENTIALS))[0] == 401
    assert (await ada.other("/api/auth/login", CREDENTIALS))[0] == 200


async def test_a_password_change_whose_ends_cannot_be_committed_changes_nothing(
    ada: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("stateroom.sessions.journal.sql.Journal._raise", fail)
        assert (await ada.owner("/api/auth/password", CHANGE))[0] == 503
    assert await ada.is_in(ada.owner)
    assert (await ada.other("/api/auth/login", NEW_CREDENTIALS))[0] == 401
    assert (await ada.other("/api/auth/login", CREDENTIALS))[0] == 200


@pytest.mark.parametrize(
    ("path", "body"), [("/api/auth/reauthenticate", {"password": ADA["password"]}), ("/api/auth/password", CHANGE)]
)
async def test_a_journal_that_breaks_after_a_rotation_signs_nobody_out(
    ada: Service, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    """A committed change cannot be undone. The answer is 503 and has the new cookie."""
    with monkeypatch.context() as patch:
        patch.setattr(ada.sessions._parts.journal, "look_up", fail)
        assert (await ada.owner(path, body))[0] == 503
    await ada.sessions._parts.tail.catch_up()
    assert await ada.is_in(ada.owner)
    assert await ada.count() == 1


@pytest.mark.parametrize("step", ["current", "record"])
async def test_a_sign_in_that_is_taken_back_leaves_all_as_it_was(ada: Service, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = [each.id for each in await ada.sessions.list(1)]
    with monkeypatch.context() as patch:
        patch.setattr(ada.sessions._parts.journal, step, fail)
        patch.setattr(ada.sessions._parts.ends, "_is_journal_required", True)
        assert (await ada.owner("/api/auth/login", CREDENTIALS))[0] == 503
    assert await ada.is_in(ada.owner)
    assert [each.id for each in await ada.sessions.list(1)] == before
