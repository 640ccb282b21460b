"""A mail server, a room of senders, and certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from stateroom.database import Database
from stateroom.settings import Settings

from ...servers import Servers
from .mail_server import MailServer, mail_server
from .room import Room


class Certificates(NamedTuple):
    ca: Path
    good: ssl.SSLContext
    foreign: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA's file, and the contexts of a server with its certificate and of one with the certificate of another CA."""
    authority, other = trustme.CA(), trustme.CA()
    path = tmp_path_factory.mktemp("mail") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))

    def context(issuer: trustme.CA) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("localhost", "127.0.0.1").configure_cert(made)
        return made

    return Certificates(path, context(authority), context(other))


@pytest.fixture
def server(servers: Servers) -> Iterator[MailServer]:
    """A mail server that takes everything, without TLS."""
    with mail_server(servers) as running:
        yield running


@pytest.fixture
def room(database: Database, database_settings: Settings, server: MailServer) -> Room:
    """Senders for `server`, with an empty database of each kind."""
    return Room(database, url=f"smtp://127.0.0.1:{server.port}")


@pytest.fixture
async def sqlite(tmp_path: Path, servers: Servers) -> Any:
    """A database, for tests in which its kind makes no difference."""
    made = Database(servers.settings("fakeredis", database_url=None, state_dir=tmp_path / "state"))
    await made.upgrade()
    yield made
    await made.aclose()


@pytest.fixture
def room_for(sqlite: Database) -> Callable[..., Room]:
    """Makes senders for a `MAIL_URL`."""
    return lambda url, **options: Room(sqlite, url=url, **options)
