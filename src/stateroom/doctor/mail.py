"""Checks that mails can leave: the folder of `MAIL_URL` can be written, or its server is reached, with TLS and sign-in.

No mail is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..accounts.mail.faults import ServerUnavailable, WrongSetting
from ..accounts.mail.post import make_carrier
from ..errors import SettingsError
from .findings import Finding, fault, ok

if TYPE_CHECKING:
    from ..settings import Settings

WHERE = "Mail"


async def look_at_mail(settings: Settings) -> list[Finding]:
    """Examine the server or the folder. Without `MAIL_URL` there is nothing to find."""
    if settings.mail_url is None:
        return []
    place, carrier = str(settings.mail_url), make_carrier(settings)
    if settings.mail_url.is_folder and not settings.mail_url.path.exists():
        return [ok(WHERE, f"{place} does not exist yet; `stateroom serve` creates it")]
    try:
        carrier.prepare()
        await carrier.check()
    except SettingsError as refusal:
        what, _, fix = str(refusal).partition("; ")
        return [fault("mail-setting", WHERE, what, fix)]
    except WrongSetting as refusal:
        return [fault("mail-refused", WHERE, f"{place}: {refusal.reason}, so no mail leaves", refusal.fix)]
    except ServerUnavailable as unavailable:
        what = f"{place}: {unavailable.reason}, so mails wait"
        return [fault("mail-away", WHERE, what, "start the server, or correct MAIL_URL")]
    finally:
        await carrier.close()
    return [ok(WHERE, f"{place}: ready for mails from {settings.mail_from}")]
