"""The mail room of one worker: the outbox that others put mails into, and the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from .folder import FolderCarrier
from .message import Sender as From
from .outbox import Outbox
from .pace import PACE, Pace
from .sender import Sender
from .smtp import SmtpCarrier

if TYPE_CHECKING:
    from ...database import Steps
    from ...settings import Settings
    from ...telemetry.metrics import Metrics
    from .carrier import Carrier
    from .letter import Compose


class Post:
    """`outbox` and `sender` of one worker. Raises nothing: `prepare` checks the settings.

    The settings must have `MAIL_URL`. `compose`: makes the letter of each mail.
    """

    def __init__(self, settings: Settings, database: Steps, metrics: Metrics, *, compose: Compose, pace: Pace = PACE) -> None:
        assert settings.mail_from is not None, "settings with MAIL_URL have MAIL_FROM"
        mail_from = From(settings.mail_from)
        self._carrier = _carrier(settings, mail_from)
        self.outbox = Outbox(database, pace)
        self.sender = Sender(database, self.outbox, self._carrier, compose=compose, mail_from=mail_from, metrics=metrics, pace=pace)

    def prepare(self) -> None:
        """Check the folder or the certificates that the settings name. Raises `SettingsError`."""
        self._carrier.prepare()


MAIL: web.AppKey[Post] = web.AppKey("stateroom_mail", Post)


def _carrier(settings: Settings, mail_from: From) -> Carrier:
    server = settings.mail_url
    assert server is not None, "the caller checks has_mail"
    if server.is_folder:
        return FolderCarrier(server.path)
    return SmtpCarrier(server, settings.mail_tls_ca, mail_from.domain)
