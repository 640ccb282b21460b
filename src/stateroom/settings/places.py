"""Settings that are hosts, ports, addresses, networks or origins.

Each reader raises `ValueError` with what is wrong and how to fix it. The error never repeats a text with an `@`, because
the text may contain a password.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from ..addresses import Network, compressed, is_ipv6, parse_network
from ..origins import DEFAULT_PORTS, origin_of
from .lists import split_list

MAX_PORT = 65535
EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 (compared with, not listened on)
ENCODE_IT = "percent-encode each special character (for example # as %23, / as %2F, ? as %3F, % as %25)"
RAW = "its user or password seems to have a special character;"
"""What is wrong if `has_raw_character`, and the fix."""

_NO_PAGES = frozenset({"ftp", "file", "data", "blob", "about", "javascript", "redis", "rediss"})
_ORIGIN_HOST = re.compile(r"[a-z0-9._~-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_URL = re.compile(r"(?s:([^:/?#]+://[^/?#]*)([^?#]*)(.*))")
_PUBLIC_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_END_OF_HOST = re.compile(r"[/?#]")
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


class Address(NamedTuple):
    """A host and a port of a server; IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`host:port` or `[::1]:port`. Raises `ValueError` with the fix."""
    if "@" in text or "://" in text:
        raise ValueError("must be host:port, without a scheme and a user name; write for example 127.0.0.1:26379")
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError("an IPv6 address needs brackets and a port; write for example [::1]:26379")
    parts = split_url(f"//{text}")
    if parts is None or not parts.hostname or not parts.port or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:26379 or [::1]:26379")
    return Address(parts.hostname, parts.port)


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL; None if it is not a URL. The errors of `urlsplit` repeat the text, which may contain a password."""
    try:
        parts = urlsplit(text)
        _ = parts.hostname
    except ValueError:
        return None
    return None if _port_of(parts) == 0 else parts


def has_raw_character(url: str) -> bool:
    """Whether the user or the password of a URL seems to contain a character that must be percent-encoded.

    The characters / ? # end the part of a URL that names user, password and host, so an @ after them belongs to that part.
    Brackets may only surround an IPv6 address (RFC 3986, 3.2).
    """
    _, _, rest = url.partition("://")
    end = _END_OF_HOST.search(rest)
    authority = rest if end is None else rest[: end.start()]
    credentials = authority.rpartition("@")[0]
    return "@" in rest[len(authority) :] or "[" in credentials or "]" in credentials


def has_bare_ipv6(url: str) -> bool:
    """Whether the host of a URL is an IPv6 address without brackets (RFC 3986, 3.2.2)."""
    _, _, rest = url.partition("://")
    end = _END_OF_HOST.search(rest)
    host = (rest if end is None else rest[: end.start()]).rpartition("@")[2]
    return host.count(":") > 1 and not host.startswith("[")


def is_host_name(text: str) -> bool:
    """Whether the text is a host name or an IPv4 address, without port and scheme."""
    return _HOST_NAME.fullmatch(text) is not None


def is_service_link(value: str) -> bool:
    """Whether Kubernetes or Docker has set a variable to this: `REDIS_PORT=tcp://10.0.0.1:6379` for a service named redis.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    return _SERVICE_LINK.match(value) is not None


def _port_of(parts: SplitResult) -> int | None:
    """None if there is no port; 0 if the port is invalid."""
    try:
        return parts.port
    except ValueError:
        return 0


def _port(value: object) -> object:
    if isinstance(value, str) and is_service_link(value):
        raise ValueError(
            "Kubernetes or Docker has set this variable for a service of this name; "
            "set it to a port number, or put `enableServiceLinks: false` into the spec of the pod"
        )
    return value


def _addresses(value: object) -> object:
    parts = split_list(value)
    if isinstance(parts, (tuple, list)):
        return tuple(parse_address(p) if isinstance(p, str) else Address(*p) for p in parts)
    return parts


def _networks(value: object) -> object:
    parts = split_list(value)
    if not isinstance(parts, (tuple, list)):
        return parts
    networks = []
    for part in parts:
        try:
            networks.append(parse_network(str(part)))
        except ValueError:
            shown = "a value" if "@" in str(part) else repr(part)
            raise ValueError(f"{shown} is not a network; write for example 10.0.0.0/8 or ::1/128") from None
    return tuple(networks)


def _host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        if not is_ipv6(bare):
            raise ValueError("must be a host without port and scheme; for example 127.0.0.1 or ::1")
    elif not is_host_name(bare):
        raise ValueError("is not a host name or an address; write for example 127.0.0.1 or redis.example.com")
    return bare


def _origin(text: str) -> str:
    shown = "a value" if "@" in text else repr(text)
    parts = split_url(text)
    if text.lower() == "null":
        raise ValueError("null is the origin of every sandboxed page; name each origin instead")
    if len(text.split()) > 1:
        raise ValueError(f"{shown} has a space; put a comma or a line break between two origins")
    if "*" in text:
        raise ValueError(f"{shown} has a wildcard; write out each origin, for example https://app.example.com")
    if (
        parts is None
        or not parts.scheme
        or not parts.hostname
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError(f"{shown} is not an origin; write only a scheme and a host, for example https://app.example.com")
    if not parts.hostname.isascii():
        raise ValueError(f"{text!r} is not in ASCII, as browsers send it; write for example https://xn--bcher-kva.example")
    if parts.scheme in {"ws", "wss"}:
        raise ValueError(
            f"{text!r}: the origin of a page has http or https, also if the page opens WebSockets; write http or https"
        )
    # Applications have their own schemes, so any other scheme is accepted.
    is_misspelt = parts.scheme not in DEFAULT_PORTS and difflib.get_close_matches(parts.scheme, DEFAULT_PORTS, cutoff=0.75)
    if parts.scheme in _NO_PAGES or is_misspelt:
        raise ValueError(f"{text!r}: pages have no origin with this scheme; write for example https://app.example.com")
    if is_ipv6(parts.hostname) and "%" not in parts.hostname:
        host = f"[{compressed(parts.hostname)}]"  # as browsers write it
    elif _ORIGIN_HOST.fullmatch(parts.hostname):
        host = parts.hostname
    else:
        raise ValueError(f"{shown} is not an origin, because its host is invalid; write for example https://app.example.com")
    return origin_of(parts.scheme, host if parts.port is None else f"{host}:{parts.port}")


def _login_url(text: str) -> str:
    parts = split_url(text)
    is_path = text.startswith("/") and not text.startswith("//")
    is_url = parts is not None and parts.scheme in DEFAULT_PORTS and bool(parts.hostname)
    if not (is_path or is_url) or "\\" in text or "#" in text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be a path or a URL; write for example /login or https://login.example.com/")
    return text


def _public_url(text: str) -> str:
    """An origin, with the path under which everything is served too, if there is one. It has no slash at its end."""
    text = text.strip()  # the line end of a secret of Kubernetes, for example
    found = _URL.fullmatch(text)
    path = found[2].removesuffix("/") if found is not None else ""
    if path and (not _PUBLIC_PATH.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise ValueError(
            "has a path that browsers, proxies and servers may read differently; use letters, digits and - . _ ~ between single "
            "slashes, for example https://example.com/sso"
        )
    if found is not None and found[3]:
        raise ValueError("must not have a part after ? or #; write for example https://example.com or https://example.com/sso")
    origin = _origin(text if found is None else found[1])
    if origin.partition(":")[0] not in DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://; write for example https://example.com")
    return f"{origin}{path}"


Port = Annotated[int, BeforeValidator(_port), Field(ge=0, le=MAX_PORT)]
ServerPort = Annotated[int, BeforeValidator(_port), Field(ge=1, le=MAX_PORT)]
Host = Annotated[str, AfterValidator(_host)]
LoginUrl = Annotated[str, AfterValidator(_login_url)]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(split_list)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
