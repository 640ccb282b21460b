"""A running service whose mails a test takes out of the outbox, in place of the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, DummyCookieJar

from stateroom import SESSIONS
from stateroom.accounts import ACCOUNTS, User
from stateroom.accounts.mail.composing import Composer
from stateroom.accounts.mail.outbox import Outbox
from stateroom.accounts.mail_tokens import MailTokens
from stateroom.app import make_app
from stateroom.setup import DATABASE

from ..accounts.domain import PostRoom
from ..patience import settled

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpClient

    from stateroom.settings import Settings

    from ..conftest import ServiceClient

PASSWORD = "correct horse battery"
NEW = "a better horse battery"
ADA = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
EVE = {"email": "eve@example.com", "password": PASSWORD, "name": "Eve"}
MAIL = {"mail_url": "file:/nowhere", "mail_from": "Stateroom <post@example.com>", "public_url": "https://example.com"}

Answer = tuple[int, dict[str, Any]]


class Mailed:
    """The service, a client with a cookie jar, and its mails."""

    def __init__(self, client: ServiceClient, settings: Settings) -> None:
        self.client = client
        assert client.app is not None
        self.app = client.app
        sessions = self.app[SESSIONS]
        database = sessions.own(self.app[DATABASE])
        tokens = MailTokens(database, sessions.deployment, lambda: sessions.derive_key("mail tokens"))
        self.post_room = PostRoom(database, Outbox(database), Composer(settings, self.accounts.users, tokens))

    @property
    def accounts(self) -> Any:
        return self.app[ACCOUNTS]

    async def post(self, path: str, body: object = None, *, status: int | None = None, **options: Any) -> Answer:
        """Call as the client that has the cookies. `status`: what the response must have."""
        async with self.client.post(path, json=body, **options) as response:
            answer = response.status, await response.json(content_type=None)
        assert status in {None, answer[0]}, answer
        return answer

    async def get(self, path: str) -> Answer:
        async with self.client.get(path) as response:
            return response.status, await response.json(content_type=None)

    async def post_as_stranger(self, path: str, body: object = None) -> Answer:
        """Call from another browser, which has no cookies."""
        async with ClientSession(cookie_jar=DummyCookieJar()) as own, own.post(self.client.make_url(path), json=body) as response:
            assert "Set-Cookie" not in response.headers
            return response.status, await response.json(content_type=None)

    async def sign_in(self, who: dict[str, str] = ADA, **changes: str) -> None:
        await self.post("/api/auth/login", who | changes, status=200)

    async def verified(self, who: dict[str, str] = ADA) -> User:
        """An account whose address is proved. No mail waits."""
        made = await self.accounts.users.create(
            who["email"], who["name"], await self.accounts.passwords.hash(who["password"]), is_proved=True
        )
        assert isinstance(made, User)
        return made

    async def unverified(self, who: dict[str, str] = ADA) -> str:
        """Register, sign in, and return the token that was mailed."""
        await self.post("/api/auth/register", who)
        await self.sign_in(who)
        return await self.post_room.token("verify")

    async def user_id(self) -> int:
        """Who is signed in; 0 for nobody."""
        return int((await self.get("/api/auth/check"))[1]["user_id"])


async def start(aiohttp_client: AiohttpClient, settings: Settings) -> Mailed:
    app = make_app(settings, sends_mail=False)
    client = await aiohttp_client(app)
    await settled(app)
    return Mailed(client, settings)


def problem(answer: Answer) -> tuple[int, str]:
    """The status and the type of a problem document."""
    status, body = answer
    return status, str(body.get("type", "")).rpartition(":")[2]
