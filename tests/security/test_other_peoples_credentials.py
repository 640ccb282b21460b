"""Every credential in every place: good in its own, refused in every other one.

The matrix is printed. A new kind of credential takes a row here, with how it is got; a new place takes a column.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from stateroom import SESSIONS
from stateroom.accounts import ASSERTIONS
from stateroom.accounts.access import Person
from stateroom.accounts.mail.outbox import Outbox
from stateroom.drills.backups import back_up, restore_by_rename
from stateroom.drills.node import until
from stateroom.sessions.protocol import unknown_users
from stateroom.setup import DATABASE, PARTS

from ..mailbox import mailbox_of
from ..servers import Servers
from .deployments import ADA, Deployment, Place, copy_database, running

if TYPE_CHECKING:
    from stateroom.accounts.mail.letter import Kind

SIGN_IN = {"email": ADA["email"], "password": ADA["password"]}
BOB = {"email": "bob@example.com", "password": "correct pony", "name": "Bob"}
PLACES: tuple[Place, ...] = ("cookie", "bearer", "query", "header", "verify", "reset", "invitation")
MAIL: dict[str, Any] = {
    "mail_url": "file:mail",
    "mail_from": "stateroom@example.com",
    "public_url": "http://stateroom.example",
    "email_verification": "optional",
}
ADDRESSES: dict[str, str] = {}
"""Token of a mail -> the address that the mail went to."""


class Credential(NamedTuple):
    """`get`: a new one, of Ada's, or by a mail to somebody who has registered for it.

    `own`: where it belongs; None if it opens nothing here, because only applications behind a proxy take it.
    """

    get: Callable[[Deployment], Awaitable[str]]
    own: Place | None

    @property
    def place(self) -> Place:
        """Where to try it. An assertion has the form of an access token, so it is tried as a bearer."""
        return self.own or "bearer"


async def cookie(deployment: Deployment) -> str:
    status, answer, value = await deployment.call("POST", "/api/auth/login", SIGN_IN)
    assert (status, bool(value)) == (200, True), answer
    return value or ""


async def bearer(deployment: Deployment) -> str:
    status, answer, value = await deployment.call("POST", "/api/auth/login", SIGN_IN | {"transport": "bearer"})
    assert (status, value) == (200, None), answer
    return str(answer["session_token"])


async def access_token(deployment: Deployment) -> str:
    status, answer, _ = await deployment.call("POST", "/api/auth/token", SIGN_IN)
    assert status == 200, answer
    return str(answer["access_token"])


async def assertion(deployment: Deployment) -> str:
    session = await deployment.app[SESSIONS].load(await cookie(deployment))
    assert isinstance(session.user_id, int)
    person = Person(session.user_id, ADA["email"], frozenset({"staff"}))
    minted = deployment.app[ASSERTIONS].mint(session, "https://wiki.example.com", person, name=ADA["name"])
    assert minted.count(".") == 2
    return minted


async def mailed(deployment: Deployment, kind: Kind, to: str) -> str:
    async with mailbox_of(deployment.settings) as mailbox:
        token = await mailbox.token(kind, to)
    ADDRESSES[token] = to
    return token


async def newcomer(deployment: Deployment) -> tuple[str, str]:
    """The address and the session's cookie of somebody new, who has Ada's password."""
    address = f"{secrets.token_hex(4)}@example.com"
    status, answer, value = await deployment.call("POST", "/api/auth/register", ADA | {"email": address})
    assert status == 201, answer
    return address, value or ""


async def verification(deployment: Deployment) -> str:
    address, _ = await newcomer(deployment)
    return await mailed(deployment, "verify", address)


async def change(deployment: Deployment) -> str:
    address, value = await newcomer(deployment)
    body = {"email": f"new-{address}", "password": ADA["password"]}
    status, answer, _ = await deployment.call("POST", "/api/auth/email", body, value=value)
    assert status == 202, answer
    return await mailed(deployment, "change", f"new-{address}")


async def reset(deployment: Deployment) -> str:
    address, _ = await newcomer(deployment)
    status, answer, _ = await deployment.call("POST", "/api/auth/password/forgot", {"email": address})
    assert status == 202, answer
    return await mailed(deployment, "reset", address)


async def invitation(deployment: Deployment) -> str:
    address = f"{secrets.token_hex(4)}@example.com"
    database = deployment.app[DATABASE]
    await database.write(lambda connection: Outbox(database).put(connection, "invitation", address=address))
    return await mailed(deployment, "invitation", address)


CREDENTIALS = {
    "cookie": Credential(cookie, "cookie"),
    "bearer": Credential(bearer, "bearer"),
    "access token": Credential(access_token, "bearer"),
    "assertion": Credential(assertion, None),
    "verify link": Credential(verification, "verify"),
    "change link": Credential(change, "verify"),
    "reset link": Credential(reset, "reset"),
    "invitation": Credential(invitation, "invitation"),
}
OF_SESSIONS = [name for name, credential in CREDENTIALS.items() if credential.own in {"cookie", "bearer"}]
MAILED = [name for name in CREDENTIALS if name not in OF_SESSIONS]

Matrix = dict[str, dict[str, str]]


async def presented(deployment: Deployment, value: str, place: Place) -> str:
    """What becomes of it. An anonymous visitor's session is stored nowhere."""
    before = await deployment.stored()
    if place in {"verify", "reset", "invitation"}:
        return await filled_in(deployment, value, place)
    user = await deployment.whom(value, place)
    if user is None:
        assert await deployment.stored() == before
    return "refused" if user is None else "accepted"


async def filled_in(deployment: Deployment, value: str, form: Place) -> str:
    """What becomes of it in a form that a mail links to."""
    match form:
        case "verify":
            path, body = "/api/auth/email/verify", {"token": value, "password": ADA["password"]}
        case "reset":
            path, body = "/api/auth/password/reset", {"token": value, "new_password": "another horse"}
        case _:
            email = ADDRESSES.get(value, "new@example.com")
            path, body = "/api/auth/register", ADA | {"email": email, "invitation": value}
    status, answer, _ = await deployment.call("POST", path, body)
    if status < 300:
        return "accepted"
    assert (status, answer["type"]) == (400, "urn:stateroom:problem:token-invalid"), answer
    return "refused"


def show(matrix: Matrix) -> str:
    columns = list(next(iter(matrix.values())))
    lines = [" | ".join(["credential".ljust(14), *columns])]
    lines += [" | ".join([name.ljust(14), *(row[each].ljust(len(each)) for each in columns)]) for name, row in matrix.items()]
    return "\n".join(lines)


def count_ids(monkeypatch: pytest.MonkeyPatch, first: int = 1) -> None:
    """The next user is number 1, so that users of two deployments have equal numbers."""
    monkeypatch.setattr("stateroom.accounts.users.new_id", itertools.count(first).__next__)


@contextlib.asynccontextmanager
async def others(servers: Servers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Deployment]]:
    """Deployments with the keys of the first one: one with a database of its own, one with a copy under another name."""
    await copy_database(folder / "production", folder / "copy", name="staging")
    async with (
        running(servers, folder / "other", deployment="production", **MAIL) as other,
        running(servers, folder / "copy", deployment="staging", **MAIL) as copy,
    ):
        count_ids(monkeypatch)
        assert await other.register() == 1
        count_ids(monkeypatch, 1000)  # the copy has users with the numbers from 2 on
        yield {"other deployment": other, "copied database, other name": copy}


async def after_a_restore(servers: Servers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What becomes of the credentials of an account that was made after the backup. Somebody else registers since."""
    monkeypatch.setattr(unknown_users, "SECOND_LOOK_SECONDS", 0.5)
    database, backup = folder / "users.db", folder / "backup.db"
    async with running(servers, folder, **MAIL) as deployment:
        back_up(database, backup)
        ada = await deployment.register()
        values = {name: await credential.get(deployment) for name, credential in CREDENTIALS.items()}
        tail = deployment.app[PARTS].tail

        async def has_read() -> bool:
            return tail.highest > 0

        await until(has_read, "the registration was read from the journal")
        for name in OF_SESSIONS:
            assert await deployment.whom(values[name], CREDENTIALS[name].place) == ada
        restore_by_rename(backup, database)
        became: dict[str, str] = {}

        async def are_known() -> bool:
            for name, credential in ((each, CREDENTIALS[each]) for each in OF_SESSIONS):
                status, answer, _ = await deployment.call("GET", "/api/auth/check", value=values[name], place=credential.place)
                assert status == 503 or answer["user_id"] in {0, ada}, (name, answer)
                if status == 200 and not answer["authenticated"]:
                    assert answer["ended"] == "unknown-user"
                    became[name] = await presented(deployment, values[name], credential.place)
            return became.keys() == set(OF_SESSIONS)

        async def registers() -> bool:
            status, answer, _ = await deployment.call("POST", "/api/auth/register", BOB)
            assert status in {201, 503}, answer
            return status == 201

        await until(registers, "somebody else has registered")
        await until(are_known, "every session of an unknown user has ended")
        for name in MAILED:
            became[name] = await presented(deployment, values[name], CREDENTIALS[name].place)
        return became


async def test_every_credential_is_refused_in_every_place_but_its_own(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = await after_a_restore(servers, tmp_path / "restored", monkeypatch)
    count_ids(monkeypatch)
    matrix: Matrix = {name: {} for name in CREDENTIALS}
    values: dict[str, str] = {}
    async with running(servers, tmp_path / "production", deployment="production", **MAIL) as production:
        assert await production.register() == 1
        for name, credential in CREDENTIALS.items():
            used = await credential.get(production)
            for place in sorted(PLACES, key=credential.place.__eq__):  # its own one is the last: it uses a link up
                matrix[name][f"as {place}"] = await presented(production, used, place)
            values[name] = await credential.get(production)
            if name in OF_SESSIONS:
                status, *_ = await production.call("POST", "/api/auth/logout", value=used, place=credential.place)
                assert status == 200
                assert await presented(production, values[name], credential.place) == "accepted"
            matrix[name]["after its end"] = await presented(production, used, credential.place)
    async with others(servers, tmp_path, monkeypatch) as elsewhere:
        for where, deployment in elsewhere.items():
            for name, credential in CREDENTIALS.items():
                matrix[name][where] = await presented(deployment, values[name], credential.place)
                good = await presented(deployment, await credential.get(deployment), credential.place)
                assert good == ("refused" if credential.own is None else "accepted")
    for name, what in restored.items():
        matrix[name]["after a database restore"] = what
    print(f"\n{show(matrix)}")
    assert {(name, each) for name, row in matrix.items() for each, what in row.items() if what == "accepted"} == {
        (name, f"as {credential.own}") for name, credential in CREDENTIALS.items() if credential.own is not None
    }
