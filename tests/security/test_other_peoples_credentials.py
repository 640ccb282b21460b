"""Every credential in every place: good in its own, refused in every other one.

The matrix is printed. A new kind of credential takes a row here, with how it is got; a new place takes a column.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ..servers import Servers
from .deployments import ADA, Deployment, Place, copy_database, running

pytestmark = pytest.mark.usefixtures("counted_ids")  # so that deployments give their users equal ids

SIGN_IN = {"email": ADA["email"], "password": ADA["password"]}
PLACES: tuple[Place, ...] = ("cookie", "bearer")


class Credential(NamedTuple):
    """`get`: a new one of Ada's. `own`: where it belongs."""

    get: Callable[[Deployment], Awaitable[str]]
    own: Place


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


CREDENTIALS = {
    "cookie": Credential(cookie, "cookie"),
    "bearer": Credential(bearer, "bearer"),
    "access token": Credential(access_token, "bearer"),
}

Matrix = dict[str, dict[str, str]]


async def presented(deployment: Deployment, value: str, place: Place) -> str:
    """What becomes of it. An anonymous visitor's session is stored nowhere."""
    before = await deployment.stored()
    user = await deployment.whom(value, place)
    if user is None:
        assert await deployment.stored() == before
    return "refused" if user is None else "accepted"


def show(matrix: Matrix) -> str:
    columns = list(next(iter(matrix.values())))
    lines = [" | ".join(["credential".ljust(14), *columns])]
    lines += [" | ".join([name.ljust(14), *(row[each].ljust(len(each)) for each in columns)]) for name, row in matrix.items()]
    return "\n".join(lines)


@contextlib.asynccontextmanager
async def others(servers: Servers, folder: Path) -> AsyncIterator[dict[str, Deployment]]:
    """Deployments with the keys of the first one: one with a database of its own, one with a copy under another name."""
    await copy_database(folder / "production", folder / "copy", name="staging")
    async with (
        running(servers, folder / "other", deployment="production") as other,
        running(servers, folder / "copy", deployment="staging") as copy,
    ):
        await other.register()
        yield {"other deployment": other, "copied database, other name": copy}


async def test_every_credential_is_refused_in_every_place_but_its_own(servers: Servers, tmp_path: Path) -> None:
    matrix: Matrix = {name: {} for name in CREDENTIALS}
    values: dict[str, str] = {}
    async with running(servers, tmp_path / "production", deployment="production") as production:
        await production.register()
        for name, credential in CREDENTIALS.items():
            ended = await credential.get(production)
            values[name] = await credential.get(production)
            for place in PLACES:
                matrix[name][f"as {place}"] = await presented(production, values[name], place)
            status, *_ = await production.call("POST", "/api/auth/logout", value=ended, place=credential.own)
            assert status == 200
            matrix[name]["after its end"] = await presented(production, ended, credential.own)
            assert await presented(production, values[name], credential.own) == "accepted"
    async with others(servers, tmp_path) as elsewhere:
        for where, deployment in elsewhere.items():
            for name, credential in CREDENTIALS.items():
                matrix[name][where] = await presented(deployment, values[name], credential.own)
                assert await presented(deployment, await credential.get(deployment), credential.own) == "accepted"
    print(f"\n{show(matrix)}")
    assert {(name, each) for name, row in matrix.items() for each, what in row.items() if what == "accepted"} == {
        (name, f"as {credential.own}") for name, credential in CREDENTIALS.items()
    }
