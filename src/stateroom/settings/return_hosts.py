"""`RETURN_HOSTS`: the hosts to which a sign-in may lead, and what else follows from them.

An entry is kept as one of `app.example.com`, `*.example.com`, `[::1]`, each perhaps with a port. An entry without a port names
every port of its host. `*.example.com` names every host below `example.com`, and not `example.com` itself.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from ..addresses import compressed, is_ipv6, parse_client
from ..origins import DEFAULT_PORTS
from .lists import split_list
from .places import MAX_PORT

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
"""Browsers accept host names with an underscore, and so do we (https://url.spec.whatwg.org/#forbidden-domain-code-point)."""
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def parse_return_host(text: str) -> str:
    """An entry in the form in which we keep it. Raises `ValueError` with the fix. No error repeats a text with an `@`."""
    text = text.strip().lower()
    if _SCHEME.match(text) or "/" in text or "@" in text or len(text.split()) != 1:
        raise ValueError("must be host names without scheme and path; write for example app.example.com")
    if is_ipv6(text):
        raise ValueError(f"{text!r}: an IPv6 address needs brackets; write for example [::1] or [::1]:8443")
    if text.startswith("["):
        return _ipv6(text)
    host, colon, port = text.partition(":")
    if host.startswith("."):  # as others write a wildcard
        host = f"*{host}"
    name = host.removeprefix("*.")
    if name.startswith("*") or "*" in name:
        raise ValueError(f"{text!r}: a * must be the whole first part of a name; write for example *.example.com")
    if not name.isascii():
        raise ValueError(f"{text!r} is not in ASCII, as browsers send it; write for example {_in_ascii(name)}")
    if name.endswith("."):
        raise ValueError(f"{text!r} ends in a dot, which is another host to browsers; remove the dot, for example app.example.com")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not a host name; write for example app.example.com, *.example.com or app.example.com:8443")
    is_address = parse_client(name) is not None
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and (not is_address or host != name):
        # https://url.spec.whatwg.org/#ends-in-a-number-checker
        raise ValueError(f"{text!r} is an address to browsers; write it as four numbers, for example 127.0.0.1")
    return host + _port(text, colon, port)


def matches(entry: str, host: str, port: int) -> bool:
    """Whether an entry names this port of this host. The host is in lower case, and an IPv6 address is compressed, in brackets."""
    name, named_port = split_entry(entry)
    if named_port is not None and named_port != port:
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and not host.startswith(".")
    return host == name


def split_entry(entry: str) -> tuple[str, int | None]:
    """The host of an entry, and its port if it has one."""
    name, colon, port = entry.rpartition(":")
    return (name, int(port)) if colon and not port.endswith("]") else (entry, None)


def is_within(entry: str, domain: str) -> bool:
    """Whether a cookie of this domain reaches every host that an entry names (RFC 6265, section 5.1.3)."""
    name = split_entry(entry)[0].removeprefix("*.")
    return name == domain or (name.endswith(f".{domain}") and parse_client(name) is None)


def policy_source(entry: str) -> str | None:
    """The source of a Content-Security-Policy that matches what an entry names; None if a policy cannot name it: an IPv6 address.

    A source with `http` also matches https (https://www.w3.org/TR/CSP3/#match-schemes). It has no underscore, so a host with one is
    named by the domain above it (https://www.w3.org/TR/CSP3/#grammardef-host-char).
    """
    name, port = split_entry(entry)
    if "_" in name:
        above = name[name.rindex("_") :].partition(".")[2]
        name = f"*.{above}" if above else ""
    if not name or name.startswith("["):
        return None
    if port is None:
        return f"http://{name}:*"
    return f"https://{name}" if port == DEFAULT_PORTS["https"] else f"http://{name}:{port}"


def _ipv6(text: str) -> str:
    inner, bracket, rest = text[1:].partition("]")
    if not bracket or not is_ipv6(inner) or "%" in inner or (rest and not rest.startswith(":")):
        raise ValueError(f"{text!r} is not an IPv6 address; write for example [::1] or [::1]:8443")
    return f"[{compressed(inner)}]{_port(text, rest[:1], rest[1:])}"


def _port(text: str, colon: str, port: str) -> str:
    if not colon:
        return ""
    if not (port.isascii() and port.isdecimal() and len(port) < 10 and 1 <= int(port) <= MAX_PORT):
        raise ValueError(f"{text!r} has no valid port after the colon; write for example app.example.com:8443")
    return f":{int(port)}"


def _in_ascii(name: str) -> str:
    """The name with Punycode (RFC 3492), for a hint."""
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return "xn--bcher-kva.example"


ReturnHosts = Annotated[tuple[Annotated[str, AfterValidator(parse_return_host)], ...], NoDecode, BeforeValidator(split_list)]
