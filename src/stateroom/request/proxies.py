"""Finds the client's address and origin behind trusted proxies.

`X-Forwarded-*` counts only from `TRUSTED_PROXIES`. The client is the right-most address in `X-Forwarded-For` that is
not a trusted proxy itself. The client may have written the addresses to the left of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from aiohttp import hdrs
from multidict import istr

from ..addresses import LONGEST_REMEMBERED, is_in, network_around, parse_client
from ..logs import get_logger
from ..origins import DEFAULT_PORTS, origin_of, settled_origin

if TYPE_CHECKING:
    from aiohttp import web

    from ..addresses import Network
    from ..settings import Settings

log = get_logger(__name__)

_FORWARDED_FOR = istr("X-Forwarded-For")
FORWARDING_HEADERS = (_FORWARDED_FOR, *map(istr, ("X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP")))
_WHOLE = frozenset({"X-Forwarded-Uri", "X-Original-URL"})
Kept: TypeAlias = Literal["full", "truncated", "off"]
PEERS_REMEMBERED, CLIENTS_REMEMBERED = 256, 1024
IPV4_PREFIX_KEPT, IPV6_PREFIX_KEPT = 24, 48


def is_forwarded(request: web.Request) -> bool:
    """Whether the request carries any forwarding header, trusted or not."""
    headers = request.headers
    for name in FORWARDING_HEADERS:  # noqa: SIM110 (a generator would cost as much again, on the way of every request)
        if name in headers:
            return True
    return False


class Proxies:
    """Reads requests as the settings' trusted proxies forward them."""

    def __init__(self, settings: Settings) -> None:
        self._networks: tuple[Network, ...] = settings.trusted_proxies
        self._kept = settings.session_address
        self._is_embedded = settings.is_embedded
        self._origins = [each for each in settings.own_origins if each.partition(":")[0] in DEFAULT_PORTS]
        self._has_warned = False
        self._client = lru_cache(CLIENTS_REMEMBERED)(self._find_client)
        self._is_trusted = lru_cache(PEERS_REMEMBERED)(self._is_trusted_peer)

    def address(self, request: web.Request) -> str | None:
        """The client's address; None if it has none (a unix socket)."""
        if not self.accepts_headers(request):
            peer = parse_client(request.remote)
            return request.remote if peer is None else str(peer)
        return self.address_behind(request)

    def address_behind(self, request: web.Request) -> str | None:
        """`address` for a request whose forwarding headers count."""
        return self._client_behind(request)[0]

    def told_address(self, request: web.Request) -> str | None:
        """`address_behind` if the proxies tell it. None if they do not, and that is the address of a proxy."""
        address, is_told = self._client_behind(request)
        return address if is_told else None

    def is_by_trusted_proxy(self, request: web.Request) -> bool:
        """Whether a trusted proxy has forwarded the request. Headers of others are ignored, because any client can send them."""
        return is_forwarded(request) and self.accepts_headers(request)

    def kept_address(self, request: web.Request) -> str:
        """The address in the form that `SESSION_ADDRESS` allows: all of it, its network (/24, /48), or nothing."""
        return kept_form(self.address(request), self._kept)

    def forwarded(self, request: web.Request, name: str) -> str:
        """The last value of a header that a trusted proxy has set; empty if none has."""
        return _last(request, name) if self.accepts_headers(request) else ""

    def origin(self, request: web.Request) -> str:
        """`scheme://host[:port]` that the client used, as browsers write it. Empty if neither the request nor the settings name it.

        `PUBLIC_URL` and `PUBLIC_ORIGINS` count more than the proxies for their own hosts: in a row of proxies only the first one
        knows the scheme and the port. A request without `Host` (HTTP/1.0) is for the first of them.
        The port is the one in the host. `X-Forwarded-Port` is ignored: it may be that of a listener behind another proxy.
        """
        scheme = request.scheme
        host = request.headers.get(hdrs.HOST, "")  # not request.host, which falls back to this machine's name
        if self.accepts_headers(request):
            scheme = _last(request, "X-Forwarded-Proto") or scheme
            host = _last(request, "X-Forwarded-Host") or host
        if not host:
            return self._origins[0] if self._origins else ""
        told = origin_of(scheme, host)
        return settled_origin(told, self._origins) if self._origins else told

    def is_https_by_settings(self, request: web.Request) -> bool:
        """Whether the settings name an origin with https for the host of this request."""
        origin = self.origin(request)
        return origin in self._origins and origin.startswith("https:")

    def accepts_headers(self, request: web.Request) -> bool:
        """Whether the request's forwarding headers count. If they come from an untrusted peer, that is logged once."""
        if self._networks and self._is_trusted(request.remote):
            return True
        if not self._has_warned and is_forwarded(request):
            self._has_warned = True
            fix = "if this is your proxy, add its network to TRUSTED_PROXIES"
            if self._is_embedded:
                fix += "; until then cookies lack the attribute Secure, unless COOKIE_SECURE is set"
            log.warning("forwarding_headers_ignored", peer=kept_form(request.remote, self._kept), fix=fix)
        return False

    def _client_behind(self, request: web.Request) -> tuple[str | None, bool]:
        told = request.headers.getall(_FORWARDED_FOR, ())
        hops = told[0] if len(told) == 1 else ",".join(told)
        find = self._client if len(hops) <= LONGEST_REMEMBERED else self._find_client
        return find(request.remote, hops)

    def _find_client(self, remote: str | None, hops: str) -> tuple[str | None, bool]:
        """The client's address if this trusted peer forwards for these hops, the nearest one last.

        Also whether it is the client's: False if the farthest proxy that we trust does not say for whom it forwards.
        """
        peer = parse_client(remote)
        for hop in reversed(hops.split(",")):
            address = parse_client(hop)
            if address is None:
                return str(peer), False
            peer = address
            if not is_in(address, self._networks):
                break
        return str(peer), True

    def _is_trusted_peer(self, remote: str | None) -> bool:
        return is_in(parse_client(remote), self._networks)


def kept_form(address: str | None, kept: Kept) -> str:
    """An address in the form that `SESSION_ADDRESS` allows: all of it, its network (/24, /48), or nothing."""
    parsed = parse_client(address)
    if parsed is None or kept == "off":
        return ""
    if kept == "full":
        return str(parsed)
    return str(network_around(parsed, ipv4_prefix=IPV4_PREFIX_KEPT, ipv6_prefix=IPV6_PREFIX_KEPT).network_address)


def _last(request: web.Request, name: str) -> str:
    values = request.headers.getall(name, ())
    if not values:
        return ""
    # Of a list the last is the nearest proxy's; an address of a page may hold commas of its own.
    return values[-1].strip() if name in _WHOLE else values[-1].rsplit(",", 1)[-1].strip()
