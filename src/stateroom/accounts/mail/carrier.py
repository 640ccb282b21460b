"""What takes a mail to its recipient: an SMTP server (`smtp.py`) or a folder (`folder.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from email.message import EmailMessage


class Carrier(Protocol):
    """Delivers mails, one after another."""

    def prepare(self) -> None:
        """Check at startup what can be checked without the network. Raises `SettingsError`."""

    async def check(self) -> None:
        """Reach the place to which mails go, and deliver nothing. Raises `ServerUnavailable` and `WrongSetting`."""

    async def deliver(self, message: EmailMessage, *, sender: str, recipient: str, mail_id: str) -> None:
        """Deliver one mail. When this returns, it is delivered. `sender`, `recipient`: addresses in ASCII.

        Raises `Undelivered`. After any exception the next call begins with a new connection.
        """

    async def close(self) -> None:
        """End the connection politely. The next delivery opens a new one."""
