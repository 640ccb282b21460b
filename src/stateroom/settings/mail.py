"""Settings of mail: the server or the folder that `MAIL_URL` names, and the sender of `MAIL_FROM`.

Each reader raises `ValueError` with what is wrong and how to fix it. The error never repeats a URL, which may contain a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.headerregistry import Address as MailAddress
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator

from .places import ENCODE_IT, RAW, has_bare_ipv6, has_raw_character, split_url

EXAMPLE = "for example smtp://user:password@mail.example.com:587, smtps://user:password@mail.example.com or file:///var/mails"
PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server, or a folder for `.eml` files. `tls`: from the first byte (`smtps`), or by STARTTLS (`smtp`)."""

    scheme: Literal["smtp", "smtps", "file"]
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    path: Path = Path()

    @classmethod
    def folder(cls, path: Path) -> Self:
        return cls("file", path=path)

    @property
    def is_folder(self) -> bool:
        return self.scheme == "file"

    def __str__(self) -> str:
        """Without the user and the password."""
        if self.is_folder:
            return f"the folder {self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_mail_url(value: Any) -> Any:
    """Read a `MAIL_URL`. Raises `ValueError` with the fix."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("file:"):
        path = text.removeprefix("file:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or path.startswith("//"):
            raise ValueError("names no folder; write for example file:///var/mails")
        return MailServer.folder(Path(unquote(path)))
    if has_raw_character(text):
        raise ValueError(f"{RAW} {ENCODE_IT}")
    if has_bare_ipv6(text):
        raise ValueError("an IPv6 address needs brackets; write for example smtp://[::1]:587")
    parts = split_url(text)
    if parts is None or parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"is not the URL of a mail server or a folder; {EXAMPLE}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"must not have a part after the host and the port; {EXAMPLE}")
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"must have both a user and a password, or neither; {EXAMPLE}")
    scheme: Literal["smtp", "smtps"] = "smtps" if parts.scheme == "smtps" else "smtp"
    return MailServer(
        scheme, parts.hostname, parts.port or PORTS[scheme], unquote(parts.username or ""), unquote(parts.password or "")
    )


def mail_from(text: str) -> str:
    """Check the sender of mails: an address, or a name and an address in angle brackets. Raises `ValueError` with the fix."""
    name, address = parseaddr(text)
    try:
        MailAddress(display_name=name, addr_spec=address)
    except Exception:  # noqa: BLE001 (the parser of the standard library raises many kinds)
        address = ""
    if "@" not in address or "\n" in text or "\r" in text or not address.isascii():
        raise ValueError("must be an address; write for example Stateroom <no-reply@example.com>")
    return text


MailUrl = Annotated[MailServer, BeforeValidator(parse_mail_url)]
MailFrom = Annotated[str, AfterValidator(mail_from)]
