"""Makes a mail of a letter: the headers, the text, and the same as HTML."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

from ...settings.mail import parse_sender
from ..chosen import EMAIL_PATTERN, MAX_EMAIL_LENGTH
from .faults import Refused
from .rendering import render

if TYPE_CHECKING:
    from .letter import Letter

POLICY = SMTP.clone(max_line_length=998)
"""Lines as long as mail allows (https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1). Shorter ones would be encoded, and nobody
could copy a link from a file.
"""
NO_SUCH_MAILBOX = 553
"""The code for an address with a wrong form: https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3"""


class Sender:
    """The sender that `MAIL_FROM` names."""

    def __init__(self, mail_from: str) -> None:
        sender = parse_sender(mail_from)
        self.address = sender.address
        self.domain = sender.address.rpartition("@")[2]
        self._from = Address(display_name=sender.name, addr_spec=sender.address)

    def message(self, letter: Letter, mail_id: str) -> EmailMessage:
        """The mail of a letter. Its Message-ID is the same for every attempt. Raises `Refused` if the address is invalid."""
        if len(letter.to) > MAX_EMAIL_LENGTH or not re.fullmatch(EMAIL_PATTERN, letter.to):
            raise Refused(NO_SUCH_MAILBOX)
        rendered = render(letter)
        message = EmailMessage(policy=POLICY)
        message["From"] = self._from
        message["To"] = _recipient(letter.to)
        message["Subject"] = rendered.subject
        message["Date"] = datetime.now(UTC)
        message["Message-ID"] = f"<{mail_id}@{self.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # https://www.rfc-editor.org/rfc/rfc3834#section-5
        message.set_content(rendered.text)
        message.add_alternative(rendered.html, subtype="html")
        return message


def _recipient(address: str) -> Address:
    """The address for a header. Browsers accept some that mail does not, such as `ada.@example.com`. Raises `Refused` then.

    A header may also read an address in another way (`=?utf-8?q?eve?=@example.com`). Such an address is refused too.
    """
    try:
        recipient = Address(addr_spec=address)
    except ValueError:
        raise Refused(NO_SUCH_MAILBOX) from None
    if "=?" in address or recipient.addr_spec != address:
        raise Refused(NO_SUCH_MAILBOX)
    return recipient
