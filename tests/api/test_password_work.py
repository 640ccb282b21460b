"""A refused sign-in does the same work for every account, whatever cost its hash has, and for no account."""

from __future__ import annotations

import itertools
from pathlib import Path

import bcrypt
import pytest
from pytest_aiohttp import AiohttpClient

from stateroom.accounts import ACCOUNTS
from stateroom.app import make_app

from ..commands import Serving
from ..conftest import ServiceClient
from ..patience import settled
from ..servers import Servers

PASSWORD = "correct horse"
EMAILS = {cost: f"cost-{cost}@example.com" for cost in (4, 6, 8)}
PEPPER = "of the house"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of each bcrypt computation: 2 to the power of its cost."""
    done: list[int] = []
    for name in ("hashpw", "checkpw"):
        real = getattr(bcrypt, name)

        def counted(password: bytes, salt: bytes, real: object = real) -> object:
            done.append(2 ** int(salt.split(b"$")[2]))
            return real(password, salt)  # type: ignore[operator]

        monkeypatch.setattr(bcrypt, name, counted)
    return done


class House:
    """The service, started several times on one database."""

    def __init__(self, servers: Servers, folder: Path, aiohttp_client: AiohttpClient) -> None:
        self._servers, self._folder, self._client = servers, folder, aiohttp_client

    async def start(self, **settings: object) -> ServiceClient:
        app = make_app(self._servers.service_settings(self._folder, login_attempts=1000, **settings))
        client = await self._client(app)
        await settled(app)
        return client


@pytest.fixture
def house(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> House:
    return House(servers, tmp_path, aiohttp_client)


async def register(client: ServiceClient, email: str) -> None:
    response = await client.post("/api/auth/register", json={"email": email, "password": PASSWORD, "name": "Ada"})
    assert response.status == 201


async def login(client: ServiceClient, email: str, password: str = PASSWORD, path: str = "/api/auth/login") -> int:
    return (await client.post(path, json={"email": email, "password": password})).status


@pytest.mark.parametrize("rounds", [4, 6, 8])
@pytest.mark.parametrize("pepper", [None, PEPPER])
async def test_known_and_unknown_cost_the_same_work(house: House, work: list[int], rounds: int, pepper: str | None) -> None:
    for cost, email in EMAILS.items():
        await register(await house.start(bcrypt_rounds=cost), email)
    client = await house.start(bcrypt_rounds=rounds, password_pepper=pepper)
    for email in (*EMAILS.values(), "nobody@example.com", "no address"):
        work.clear()
        assert await login(client, email, "wrong") == 401
        assert sum(work) == 2**8, email


async def test_a_sign_in_stores_a_hash_of_the_present_cost_and_pepper(house: House, work: list[int]) -> None:
    for cost, email in EMAILS.items():
        await register(await house.start(bcrypt_rounds=cost), email)
    client = await house.start(bcrypt_rounds=6, password_pepper=PEPPER)
    for email, _ in itertools.product(EMAILS.values(), range(2)):
        assert await login(client, email) == 200
    kinds = await client.app[ACCOUNTS].users.hash_kinds(100)
    assert [kind.partition("$$")[2][:7] for kind in kinds] == ["2b$06$" + kind.partition("$$")[2][6] for kind in kinds]
    assert all(kind.startswith("p:") for kind in kinds)
    later = await house.start(bcrypt_rounds=6, password_pepper=PEPPER)
    work.clear()
    assert await login(later, "nobody@example.com") == 401
    assert sum(work) == 2**6, "nothing of the higher cost is stored any more"


@pytest.mark.parametrize(
    ("now", "fault"), [(None, "PASSWORD_PEPPER is not set, but"), ("another", "PASSWORD_PEPPER is not the value")]
)
def test_startup_stops_if_the_pepper_is_missing(tmp_path: Path, now: str | None, fault: str) -> None:
    with Serving(tmp_path, PASSWORD_PEPPER=PEPPER) as service:
        service.sign_in()
    settings = {} if now is None else {"PASSWORD_PEPPER": now}
    with pytest.raises(AssertionError, match=fault), Serving(tmp_path, **settings):
        pass
    with Serving(tmp_path, PASSWORD_PEPPER=PEPPER) as service:
        service.sign_in()


def test_a_pepper_may_be_set_later(tmp_path: Path) -> None:
    with Serving(tmp_path) as service:
        service.sign_in()
    for _ in range(2):
        with Serving(tmp_path, PASSWORD_PEPPER=PEPPER) as service:
            service.sign_in()


async def test_a_hash_whose_pepper_is_missing_answers_as_an_unknown_account(house: House, work: list[int]) -> None:
    """Another host, with another setting, may store one after startup."""
    without = await house.start()
    await register(await house.start(password_pepper=PEPPER), EMAILS[4])
    for email in (EMAILS[4], "nobody@example.com"):
        work.clear()
        assert await login(without, email) == 401
        assert sum(work) == 2**4
