"""Settings that say where something is: hosts, ports, addresses, networks, origins.

Each reader raises `ValueError` with what is wrong and how to fix it. A text with an `@` may hold a password and is
never repeated in the error.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from ..addresses import Network, is_ipv6, parse_network
from .lists import split_list

MAX_PORT = 65535

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
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
        raise ValueError("a list of host:port has a URL or a user name in it; write for example 127.0.0.1:26379")
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError("an IPv6 address needs brackets and a port; write for example [::1]:26379")
    parts = split_url(f"//{text}")
    if parts is None or not parts.hostname or not parts.port or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:26379 or [::1]:26379")
    return Address(parts.hostname, parts.port)


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL, or None for no URL: `urlsplit`'s own errors repeat the text, with the password in it."""
    try:
        parts = urlsplit(text)
        _ = parts.hostname
    except ValueError:
        return None
    return None if _port_of(parts) == 0 else parts


def is_host_name(text: str) -> bool:
    """Whether this is a name or an IPv4 address, without port and scheme."""
    return _HOST_NAME.fullmatch(text) is not None


def is_service_link(value: str) -> bool:
    """Whether Kubernetes or Docker has set a variable to this: `REDIS_PORT=tcp://10.0.0.1:6379` for a service named redis.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    return _SERVICE_LINK.match(value) is not None


def _port_of(parts: SplitResult) -> int | None:
    """None where there is none; 0 for what cannot be a port."""
    try:
        return parts.port
    except ValueError:
        return 0


def _port(value: object) -> object:
    if isinstance(value, str) and is_service_link(value):
        raise ValueError("Kubernetes or Docker has set it for a service of that name; set it, or enableServiceLinks: false")
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
            shown = "a part" if "@" in str(part) else repr(part)
            raise ValueError(f"{shown} is not a network; write for example 10.0.0.0/8 or ::1/128") from None
    return tuple(networks)


def _host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        if not is_ipv6(bare):
            raise ValueError("must be a host alone, without port or scheme; for example 127.0.0.1 or ::1")
    elif not is_host_name(bare):
        raise ValueError("is not a host name or an address; write for example 127.0.0.1 or redis.example.com")
    return bare


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
    # Browsers leave the default port of a scheme out: https://app.example.com:443 would match none of them.
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _login_url(text: str) -> str:
    parts = split_url(text)
    is_path = text.startswith("/") and not text.startswith("//")
    is_url = parts is not None and parts.scheme in _DEFAULT_PORTS and bool(parts.hostname)
    if not (is_path or is_url) or "\\" in text or "#" in text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be a path or a URL; write for example /login or https://login.example.com/")
    return text


Port = Annotated[int, BeforeValidator(_port), Field(ge=0, le=MAX_PORT)]
ServerPort = Annotated[int, BeforeValidator(_port), Field(ge=1, le=MAX_PORT)]
Host = Annotated[str, AfterValidator(_host)]
LoginUrl = Annotated[str, AfterValidator(_login_url)]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
ReturnHosts = Annotated[tuple[Annotated[str, AfterValidator(_return_host)], ...], NoDecode, BeforeValidator(split_list)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(split_list)]
