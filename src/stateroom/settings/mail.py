"""Settings of mail: the server or the folder that `MAIL_URL` names, and the sender of `MAIL_FROM`.

Each reader raises `ValueError` with what is wrong and how to fix it. The error never repeats a URL, which may contain a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, SecretStr

from ..addresses import is_ipv6
from .places import ENCODE_IT, RAW, has_bare_ipv6, has_raw_character, is_host_name, split_url

EXAMPLE = "write for example smtp://user:password@mail.example.com:587 or file:///var/mails"
PORTS = {"smtp": 587, "smtps": 465}
MAX_ADDRESS_LENGTH = 254

_ADDRESS = r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?"
_NAME = r'"[^"\\]*"|[^"<>@,;:()\[\]\\]*'
_SENDER = re.compile(rf"(?:(?P<name>{_NAME})\s*<(?P<in_brackets>{_ADDRESS})>|(?P<bare>{_ADDRESS}))")


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server, or a folder for `.eml` files. TLS begins with the first byte (`smtps`) or by STARTTLS (`smtp`)."""

    scheme: Literal["smtp", "smtps", "file"]
    host: str = ""
    port: int = 0
    user: str = ""
    password: SecretStr = field(default=SecretStr(""))
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
            return f"file:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MailSender:
    """The sender of mails: an address, and the name that mail programs show, which may be empty."""

    name: str
    address: str


def parse_mail_url(value: Any) -> Any:
    """Read a `MAIL_URL`. Raises `ValueError` with the fix."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower().startswith("file:"):
        return MailServer.folder(_path(text[len("file:") :]))
    if has_raw_character(text):
        raise ValueError(f"{RAW} {ENCODE_IT}")
    if has_bare_ipv6(text):
        raise ValueError("an IPv6 address needs brackets; write for example smtp://[::1]:587")
    parts = split_url(text)
    if parts is None:
        raise ValueError(f"is not a URL, or its port is invalid; {EXAMPLE}")
    if parts.scheme not in PORTS:
        raise ValueError(f"must begin with smtp://, smtps:// or file:; {EXAMPLE}")
    host = parts.hostname or ""
    if not is_host_name(host) and not is_ipv6(host):
        raise ValueError(f"names no host; {EXAMPLE}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the host and the port; {EXAMPLE}")
    if bool(parts.username) != bool(parts.password):
        raise ValueError(f"must have both a user and a password, or neither; {EXAMPLE}")
    scheme: Literal["smtp", "smtps"] = "smtps" if parts.scheme == "smtps" else "smtp"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailServer(scheme, host, parts.port or PORTS[scheme], user, SecretStr(password))


def parse_sender(text: str) -> MailSender:
    """Read a `MAIL_FROM`: an address, or a name and an address in angle brackets. Raises `ValueError` with the fix."""
    found = _SENDER.fullmatch(text.strip())
    if found is None or not text.isprintable():
        raise ValueError("must be an address, with a name or without; write for example Stateroom <no-reply@example.com>")
    address = found["in_brackets"] or found["bare"]
    if len(address) > MAX_ADDRESS_LENGTH:
        raise ValueError(f"must have at most {MAX_ADDRESS_LENGTH} characters; write for example no-reply@example.com")
    return MailSender((found["name"] or "").strip().strip('"'), address)


def _path(text: str) -> Path:
    """The path of a `file:` URL: `file:///folder`, `file:/folder` or `file:folder` (RFC 8089)."""
    path = text.removeprefix("//") if text.startswith("///") else text
    if not path or path.startswith("//"):
        raise ValueError("names no folder; write for example file:///var/mails")
    folder = Path(unquote(path))
    if folder.exists() and not folder.is_dir():
        raise ValueError("names a file, and mails need a folder; name a folder, which is made if it does not exist")
    return folder


def _mail_from(text: str) -> str:
    parse_sender(text)
    return text


MailUrl = Annotated[MailServer, BeforeValidator(parse_mail_url)]
MailFrom = Annotated[str, AfterValidator(_mail_from)]
