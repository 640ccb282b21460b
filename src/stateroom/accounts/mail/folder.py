"""Delivers mails to a folder, as files that mail programs open. For development, and for programs that send them on.

The name of a file begins with the time, so the newest is the last in a listing. A mail that is delivered again replaces its file.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...errors import SettingsError
from ...private import open_private, own_folder
from .faults import WrongSetting

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path


class FolderCarrier:
    """Writes mails into a folder that only the service's user can open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        own_folder(self._folder, setting="MAIL_URL")
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise SettingsError(f"MAIL_URL: {self._folder} cannot be written; name a folder that can be written")

    async def check(self) -> None:
        """`prepare` has checked all."""

    async def deliver(self, message: EmailMessage, *, sender: str, recipient: str, mail_id: str) -> None:
        try:
            await asyncio.to_thread(self._write, message.as_bytes(), mail_id)
        except OSError as error:
            raise WrongSetting(
                f"{type(error).__name__}", f"make room in the folder {self._folder}, or name another one in MAIL_URL"
            ) from None

    async def close(self) -> None:
        """There is no connection."""

    def _write(self, data: bytes, mail_id: str) -> None:
        path = next(self._folder.glob(f"*-{mail_id}.eml"), None)
        if path is None:
            path = self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{mail_id}.eml"
        draft = self._folder / f".{mail_id}.eml.draft"
        draft.unlink(missing_ok=True)  # of a worker that was killed
        with open_private(draft, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
