"""Tells caches what they may do with a response that depends on a session (RFC 9111).

A shared cache that stores a response with our `Set-Cookie` signs its next visitor in as another user. So these functions are
called last, when all headers are set, and they overrule the handler's headers. Caches of CDNs obey headers of their own
before `Cache-Control` (RFC 9213, section 2.2), so those are removed as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from multidict import istr

if TYPE_CHECKING:
    from multidict import CIMultiDict

_CACHE_CONTROL, _VARY = istr("Cache-Control"), istr("Vary")
_NO_STORE = "no-store"

_FOR_SHARED_CACHES = frozenset({"x-accel-expires", "edge-control"})
"""nginx's and Akamai's headers: https://nginx.org/docs/http/ngx_http_proxy_module.html#proxy_cache_valid,
https://techdocs.akamai.com/property-mgr/docs/cache-control-from-origin"""
_ENDS_FOR_SHARED_CACHES = ("-cache-control", "surrogate-control")
"""`CDN-Cache-Control` (RFC 9213), the forms that vendors derive from it (`Cloudflare-CDN-Cache-Control`,
`X-LiteSpeed-Cache-Control`), and `Surrogate-Control` (https://www.w3.org/TR/edge-arch/)."""
_OLD = frozenset({"expires", "pragma"})
"""HTTP/1.0 has these. A cache that does not know `Cache-Control` obeys `Expires`."""

_NO_RENEWAL = frozenset({304, 206})

_DIRECTIVE = re.compile(r"""[\s,]*([^\s,="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*))?""")
_SHARED = frozenset({"public", "private", "s-maxage", "proxy-revalidate"})
"""Directives that speak to shared caches. `private="Set-Cookie"` keeps only that header from them."""


def keep_out_of_caches(headers: CIMultiDict[str]) -> None:
    """Let no cache store a response that sets or clears the session cookie, whatever its handler has set."""
    _take_off(headers, is_stored_nowhere=True)
    headers[_CACHE_CONTROL] = _NO_STORE


def make_private(headers: CIMultiDict[str]) -> None:
    """Let no shared cache store a response to a bearer. The client's own cache still obeys the handler's headers.

    `public`, `s-maxage` and `must-revalidate` would let a shared cache store it (RFC 9111, section 3.5).
    """
    _take_off(headers, is_stored_nowhere=False)
    said = headers.getall(_CACHE_CONTROL, ())
    if list(said) == [_NO_STORE]:
        return
    kept = [text for name, text in _directives(said) if name not in _SHARED and name != "must-understand"]
    headers[_CACHE_CONTROL] = ", ".join(kept if _NO_STORE in kept else ["private", *kept])


def vary_by_session(headers: CIMultiDict[str]) -> None:
    """Say that a response depends on the cookie, because its handler used the session.

    A response that no cache stores needs no `Vary`.
    """
    said = headers.getall(_CACHE_CONTROL, ())
    if not said and _VARY not in headers:
        headers[_VARY] = "Cookie"
        return
    if len(said) == 1 and said[0] == _NO_STORE:
        return
    names = {name for name, _ in _directives(said)}
    if _NO_STORE in names and "must-understand" not in names:  # RFC 9111, section 5.2.2.3
        return
    lines = headers.getall(_VARY, ())
    listed = {name.strip().lower() for line in lines for name in line.split(",")}
    if "cookie" in listed or "*" in listed:
        return
    headers[_VARY] = ", ".join([*(line.strip(" \t,") for line in lines if line.strip(" \t,")), "Cookie"])


def carries_no_renewal(status: int) -> bool:
    """Whether a response with this status must not renew the session's cookie.

    A cache that stores the whole response takes the headers of a 304 into it, and combines the parts of 206 responses
    (RFC 9111, sections 3.2 and 3.4).
    """
    return status in _NO_RENEWAL


def _take_off(headers: CIMultiDict[str], *, is_stored_nowhere: bool) -> None:
    for name in {name.lower() for name in headers}:
        if name.endswith(_ENDS_FOR_SHARED_CACHES) or name in _FOR_SHARED_CACHES or (is_stored_nowhere and name in _OLD):
            del headers[name]


def _directives(lines: list[str] | tuple[str, ...]) -> list[tuple[str, str]]:
    """The directives of `Cache-Control`: each one's name in lower case, and its text. A comma within quotes separates nothing."""
    return [
        (found[1].lower(), found[1].lower() if found[2] is None else f"{found[1].lower()}={found[2]}")
        for line in lines
        for found in _DIRECTIVE.finditer(line)
    ]
