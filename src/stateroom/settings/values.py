"""What a value of each kind looks like: addresses, networks, origins, keys, names.

Each reader raises `ValueError` with what is wrong and the mend. A text that may hold a password
(anything with an `@`) or is a key is never repeated in it.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from ..addresses import Network, is_ipv6, parse_network

COOKIE_KEY_BYTES = 32
JWT_KEY_MIN_BYTES = 32
MAX_WAIT_SECONDS = 60
"""No wait for Redis is longer: such a value was meant in milliseconds."""
MAX_LIFETIME_SECONDS = 10 * 366 * 24 * 3600
MAX_PORT = 65535
MAX_COOKIE_NAME_LENGTH = 128

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_NO_COOKIE_NAME = set('()<>@,;:\\"/[]?={} \t')


class Address(NamedTuple):
    """A host and a port; IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`host:port` or `[::1]:port`. Raises `ValueError` with the mend."""
    if "@" in text or "://" in text:
        raise ValueError("a list of host:port has a URL or a user name in it; write for example 127.0.0.1:26379")
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError("an IPv6 address needs brackets and a port; write for example [::1]:26379")
    parts = split_url(f"//{text}")
    if parts is None or not parts.hostname or not parts.port or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:26379 or [::1]:26379")
    return Address(parts.hostname, parts.port)


def split_url(text: str) -> SplitResult | None:
    """A URL's parts, or None for no URL: `urlsplit`'s own errors repeat the text, with the password in it."""
    try:
        parts = urlsplit(text)
        _ = parts.hostname
    except ValueError:
        return None
    return None if _port_of(parts) == 0 else parts


def decode_cookie_key(text: str) -> bytes:
    """A cookie key as `stateroom keys` prints it: 32 bytes, base64url. Raises `ValueError`."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != COOKIE_KEY_BYTES:
        raise ValueError("a key is not 32 bytes of base64url; make one with `stateroom keys`")
    return key


def _port_of(parts: SplitResult) -> int | None:
    """None where there is none; 0 for what cannot be a port."""
    try:
        return parts.port
    except ValueError:
        return 0


def _split(value: object) -> object:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _addresses(value: object) -> object:
    parts = _split(value)
    if isinstance(parts, (tuple, list)):
        return tuple(parse_address(p) if isinstance(p, str) else Address(*p) for p in parts)
    return parts


def _networks(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, (tuple, list)):
        return parts
    networks = []
    for part in parts:
        try:
            networks.append(parse_network(str(part)))
        except ValueError:
            raise ValueError(f"{part!r} is not a network; write for example 10.0.0.0/8 or ::1/128") from None
    return tuple(networks)


def _host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        if not is_ipv6(bare):
            raise ValueError("must be a host alone, without port or scheme; for example 127.0.0.1 or ::1")
    elif not _HOST_NAME.fullmatch(bare):
        raise ValueError("is not a host name or an address; write for example 127.0.0.1 or redis.example.com")
    return bare


def _cookie_domain(text: str) -> str:
    if not _HOST_NAME.fullmatch(text.removeprefix(".")):
        raise ValueError("must be a domain alone; write for example example.com, or unset it")
    return text


def _return_host(text: str) -> str:
    parts = split_url(f"//{text}")
    bare = text.removeprefix("*").removeprefix(".")
    if parts is None or "/" in text or "@" in text or not re.fullmatch(r"[A-Za-z0-9_.:\[\]-]+", bare):
        raise ValueError("must be hosts, without scheme or path; write for example app.example.com")
    return text.lower()


def _origin(text: str) -> str:
    parts = split_url(text)
    if (
        parts is None
        or parts.scheme not in _DEFAULT_PORTS
        or not parts.hostname
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        shown = "a part" if "@" in text else repr(text)
        raise ValueError(f"{shown} is not an origin; write for example https://app.example.com")
    if not parts.hostname.isascii():
        raise ValueError(f"{text!r}: browsers say such a host in ASCII; write it so, for example https://xn--bcher-kva.example")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Browsers leave the scheme's own port out: https://app.example.com:443 would match none of them.
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _login_url(text: str) -> str:
    parts = split_url(text)
    is_path = text.startswith("/") and not text.startswith("//")
    is_url = parts is not None and parts.scheme in _DEFAULT_PORTS and bool(parts.hostname)
    if not (is_path or is_url) or "\\" in text or "#" in text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be a path or a URL; write for example /login or https://login.example.com/")
    return text


def _keys(value: object) -> object:
    parts = _split(value)
    if parts == () and value:
        raise ValueError("has no key between its commas; make one with `stateroom keys`, or unset it")
    return parts


def _cookie_keys(value: object) -> object:
    parts = _keys(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            decode_cookie_key(part.get_secret_value() if isinstance(part, SecretStr) else part)
    return parts


def _jwt_keys(value: object) -> object:
    parts = _keys(value)
    if isinstance(parts, (tuple, list)):
        for part in parts:
            text = part.get_secret_value() if isinstance(part, SecretStr) else part
            if len(text.encode()) < JWT_KEY_MIN_BYTES:
                raise ValueError("a key is shorter than 32 bytes; make one with `stateroom keys`")
    return parts


def _cookie_name(name: str) -> str:
    if not name or any(c in _NO_COOKIE_NAME or not 32 < ord(c) < 127 for c in name):
        raise ValueError("has characters that a cookie name cannot have; use letters, digits, - and _")
    if len(name) > MAX_COOKIE_NAME_LENGTH:
        raise ValueError(f"must be {MAX_COOKIE_NAME_LENGTH} characters at most: browsers bound name and value together")
    return name


def _cookie_path(path: str) -> str:
    if not path.startswith("/") or ";" in path or any(c.isspace() or not c.isprintable() for c in path):
        raise ValueError("must begin with / and have no space or semicolon; for example /")
    return path


def _key_prefix(prefix: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", prefix):
        raise ValueError("must be 1 to 64 letters, digits and the signs _ . : -; for example session")
    return prefix


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _capital(value: object) -> object:
    return value.capitalize() if isinstance(value, str) else value


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; name one that is there, or unset it")
    return path


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is not a folder; name one, or a place where one can be made")
    return path


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[float, Field(gt=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(gt=0, le=MAX_LIFETIME_SECONDS)]
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
ServerPort = Annotated[int, Field(ge=1, le=MAX_PORT)]
Host = Annotated[str, AfterValidator(_host)]
LoginUrl = Annotated[str, AfterValidator(_login_url)]
CookieName = Annotated[str, AfterValidator(_cookie_name)]
CookieDomain = Annotated[str, AfterValidator(_cookie_domain)]
CookiePath = Annotated[str, AfterValidator(_cookie_path)]
KeyPrefix = Annotated[str, AfterValidator(_key_prefix)]
ExistingFile = Annotated[Path, AfterValidator(_file)]
Folder = Annotated[Path, AfterValidator(_folder)]
AnyCase = BeforeValidator(_lower)
Capitalised = BeforeValidator(_capital)
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
ReturnHosts = Annotated[tuple[Annotated[str, AfterValidator(_return_host)], ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_cookie_keys)]
JwtKeys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_jwt_keys)]
