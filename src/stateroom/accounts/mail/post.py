"""The mail room of one worker: the sender, with what delivers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from .folder import FolderCarrier
from .message import Sender as From
from .pace import PACE, Pace
from .sender import Sender
from .smtp import SmtpCarrier

if TYPE_CHECKING:
    from ...database import Steps
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from .carrier import Carrier
    from .letter import Compose
    from .outbox import Outbox


class Post:
    """The sender of one worker. The settings must have `MAIL_URL`."""

    def __init__(
        self, settings: Settings, database: Steps, outbox: Outbox, metrics: Metrics, *, compose: Compose, pace: Pace = PACE
    ) -> None:
        """`outbox`: its mails are sent. `compose`: makes the letter of each."""
        assert settings.mail_from is not None, "settings with MAIL_URL have MAIL_FROM"
        mail_from = From(settings.mail_from)
        self._carrier = make_carrier(settings)
        self.sender = Sender(database, outbox, self._carrier, compose=compose, mail_from=mail_from, metrics=metrics, pace=pace)

    def prepare(self) -> None:
        """Check the folder or the certificates that the settings name. Raises `SettingsError`."""
        self._carrier.prepare()


MAIL: web.AppKey[Post] = web.AppKey("stateroom_mail", Post)


def make_carrier(settings: Settings) -> Carrier:
    """The carrier to the server or the folder of `MAIL_URL`, which the settings must have."""
    server = settings.mail_url
    assert server is not None, "the caller checks has_mail"
    assert settings.mail_from is not None, "settings with MAIL_URL have MAIL_FROM"
    if server.is_folder:
        return FolderCarrier(server.path)
    return SmtpCarrier(server, settings.mail_tls_ca, From(settings.mail_from).domain)
