"""`stateroom serve --workers 2`: a mailed link works at both workers, and once. A killed worker leaves nothing half done."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from stateroom.accounts.mail.outbox import mails
from stateroom.database import Database
from stateroom.settings import Settings

from ...commands import Serving
from ...mailbox import tokens_in
from ...patience import wait_until
from .fleet import NEW_PASSWORD, OWNER, PASSWORD

ROUNDS = 3
STEP_SECONDS = 0.008
"""The workers are killed after 0, 1, 2, … of these steps: before the request arrives, while it runs, and after it."""
ACCOUNT = {"email": OWNER, "password": PASSWORD, "name": "Owner"}


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> Any:
    database = Database(Settings(_env_file=None, database_url=database_url, state_dir=tmp_path / "var"))
    await database.upgrade()
    await database.aclose()
    return Serving(
        tmp_path, "--workers", "2", DATABASE_URL=database_url, MAIL_URL=f"file:{tmp_path}/mail", MAIL_FROM="stateroom@example.com",
        EMAIL_VERIFICATION="required", MAIL_REQUESTS=1000, LOGIN_ATTEMPTS=1000, LOGIN_ATTEMPTS_PER_ADDRESS=1000,
        SESSION_CHANGES_PER_USER=0, SESSION_CHANGES_PER_ADDRESS=0,
    )  # fmt: skip


@pytest.fixture
def two(service: Serving) -> Iterator[Serving]:
    with service:
        yield service


def token(service: Serving, to: str, page: str, count: int) -> str:
    """The token of the newest of so many mails."""
    folder = service.folder / "mail"
    service.wait_until(lambda: len(tokens_in(folder, to, page)) >= count, f"{count} mails to {to}")
    return tokens_in(folder, to, page)[-1]


def post(service: Serving, path: str, **body: str) -> tuple[int, dict[str, Any]]:
    status, document, _ = service.call("POST", path, body)
    return status, document


def is_in(service: Serving, password: str, email: str = OWNER) -> bool:
    status, document = post(service, "/api/auth/login", email=email, password=password)
    assert status in {200, 401}, document
    return status == 200


def test_a_link_works_once_whichever_worker_gets_it(two: Serving) -> None:
    assert post(two, "/api/auth/register", **ACCOUNT)[0] == 202
    verify = token(two, OWNER, "/verify", 1)
    statuses = [post(two, "/api/auth/email/verify", token=verify, password=PASSWORD)[0] for _ in range(8)]
    assert statuses == [200] + [400] * 7
    assert post(two, "/api/auth/password/forgot", email=OWNER)[0] == 202
    reset = token(two, OWNER, "/reset", 1)
    outcomes: Counter[int] = Counter()

    def use() -> None:
        outcomes[post(two, "/api/auth/password/reset", token=reset, new_password=NEW_PASSWORD)[0]] += 1

    threads = [threading.Thread(target=use) for _ in range(8)]  # a connection each: the kernel shares them out
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {200: 1, 400: 7}
    assert is_in(two, NEW_PASSWORD)
    assert not is_in(two, PASSWORD)


def killed_during(service: Serving, seconds: float, path: str, **body: str) -> str:
    """Send a request, and kill both workers so many seconds later. Returns the status, or that there was no response."""
    outcome = ""
    before = service.workers

    def send() -> None:
        nonlocal outcome
        try:
            outcome = str(post(service, path, **body)[0])
        except (OSError, HTTPException):
            outcome = "no response"

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(seconds)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    thread.join()
    service.wait_until(
        lambda: len(service.workers) == 2 and not set(service.workers.values()) & set(before.values()), "new workers"
    )
    wait_until(lambda: is_ready(service), "the new workers answer")
    return outcome


def is_ready(service: Serving) -> bool:
    try:
        return service.call("GET", "/readyz")[0] == 200
    except (OSError, HTTPException):
        return False


def test_a_reset_during_which_the_workers_are_killed_is_done_or_not(two: Serving) -> None:
    post(two, "/api/auth/register", **ACCOUNT)
    password, outcomes = PASSWORD, Counter[str]()
    for number in range(ROUNDS):
        cookie = two.sign_in(OWNER, password)
        assert post(two, "/api/auth/password/forgot", email=OWNER)[0] == 202
        reset, new = token(two, OWNER, "/reset", number + 1), f"the password number {number}"
        outcome = killed_during(two, number * STEP_SECONDS, "/api/auth/password/reset", token=reset, new_password=new)
        was_done = is_in(two, new)
        outcomes[f"{outcome}, {'done' if was_done else 'not done'}"] += 1
        assert was_done or outcome != "200"
        retry, document = post(two, "/api/auth/password/reset", token=reset, new_password=new)
        assert (retry, document.get("type")) == ((400, "urn:stateroom:problem:token-invalid") if was_done else (200, None))
        for _ in range(4):
            assert not two.call("GET", "/api/auth/check", cookie=cookie)[1]["authenticated"], "the sessions ended with the reset"
        assert is_in(two, new)
        assert not is_in(two, password)
        password = new
    print(dict(outcomes))


def test_a_change_of_address_during_which_the_workers_are_killed_is_done_or_not(two: Serving, database_url: str) -> None:
    post(two, "/api/auth/register", **ACCOUNT)
    email, outcomes = OWNER, Counter[str]()
    assert post(two, "/api/auth/email/verify", token=token(two, OWNER, "/verify", 1), password=PASSWORD)[0] == 200
    for number in range(ROUNDS):
        new, cookie = f"new{number}@example.com", two.sign_in(email, PASSWORD)
        status, document, _ = two.call("POST", "/api/auth/email", {"email": new, "password": PASSWORD}, cookie=cookie)
        assert status == 202, document
        link = token(two, new, "/verify", 1)
        outcome = killed_during(two, number * STEP_SECONDS, "/api/auth/email/verify", token=link, password=PASSWORD)
        was_done = is_in(two, PASSWORD, new)
        outcomes[f"{outcome}, {'done' if was_done else 'not done'}"] += 1
        assert was_done or outcome != "200"
        assert is_in(two, PASSWORD, email) is not was_done, "the account has one address"
        retry, document = post(two, "/api/auth/email/verify", token=link, password=PASSWORD)
        assert (retry, document.get("type")) == ((400, "urn:stateroom:problem:token-invalid") if was_done else (200, None))
        status, profile, _ = two.call("GET", "/api/profile", cookie=cookie)
        assert status == 200, profile
        assert profile["user"]["email"] == new
        email = new
    print(dict(outcomes))
    waiting = asyncio.run(waiting_in(database_url))  # first: a mail is in the folder before its row is deleted
    told = {path.stem.rpartition("-")[2] for path in (two.folder / "mail").glob("*.eml")}
    assert len(told | waiting) == 1 + 3 * ROUNDS, "both addresses are told of each change"


async def waiting_in(database_url: str) -> set[str]:
    """The ids of the mails that wait. One that a killed worker had claimed waits until the claim expires."""
    database = Database(Settings(_env_file=None, database_url=database_url))
    try:
        return await database.read(_waiting)
    finally:
        await database.aclose()


async def _waiting(connection: AsyncConnection) -> set[str]:
    return set((await connection.execute(select(mails.c.id))).scalars())
