"""Guards: which users and which origins may call a handler."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiohttp import web
from multidict import istr

from ..errors import ForeignOrigin, ReauthenticationRequired, SessionEnded, SignInRequired, StoreUnavailable
from ..origins import DEFAULT_PORTS, plain_origin
from ..sessions.model.session import check_can_rotate
from .request_session import REQUEST_SESSION, get_request_session, use_session

if TYPE_CHECKING:
    from ..settings import Settings
    from .proxies import Proxies

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[web.StreamResponse]])

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_BACKGROUND = "__stateroom_background__"
_RENEW = istr("X-Session-Renew")


@overload
def require_auth(handler: Handler, /) -> Handler: ...
@overload
def require_auth(
    *, fresh: float | None = None, degraded: bool = True, access_token: bool = True
) -> Callable[[Handler], Handler]: ...
def require_auth(handler: Any = None, /, *, fresh: float | None = None, degraded: bool = True, access_token: bool = True) -> Any:
    """Let only signed-in users through. Others get a 401 that says whether a session ended, and why.

    `fresh`: the sign-in or re-authentication must be at most this number of seconds old.
    `degraded=False`: refuse with 503 while the session is known from its cookie only.
    `access_token=False`: refuse with 403 if an access token opened the session. Use it for handlers that call
    `reauthenticate` or `revoke_others`, which need the session's own value.
    Raises `TypeError` if it is used with positional options, or if `fresh` is no number.
    """
    if handler is not None and not callable(handler):
        raise TypeError(f"require_auth takes its options by name, as in @require_auth(fresh={handler!r})")
    if fresh is not None and (isinstance(fresh, bool) or not isinstance(fresh, int | float)):
        raise TypeError(f"fresh is a number of seconds, not {type(fresh).__name__}, as in @require_auth(fresh=300)")

    def decorate(function: Handler) -> Handler:
        @functools.wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> web.StreamResponse:
            check_auth(_request_among(args), fresh=fresh, degraded=degraded, access_token=access_token)
            return await function(*args, **kwargs)

        return guarded  # type: ignore[return-value]

    return decorate if handler is None else decorate(handler)


def check_auth(request: web.Request, *, fresh: float | None = None, degraded: bool = True, access_token: bool = True) -> None:
    """Check inside a handler what `require_auth` checks. The parameters are the same. Returns None if all checks pass.

    Raises `SignInRequired`, `SessionEnded`, `NotByAccessToken`, `ReauthenticationRequired`, `StoreUnavailable`,
    `DatabaseUnavailable`.
    """
    current = use_session(request)
    record = current.record
    if not record.is_signed_in:
        if record.ended is not None:
            raise SessionEnded(record.ended)
        raise SignInRequired
    if not access_token:
        check_can_rotate(current.session)
    if record.degraded and not degraded:
        raise StoreUnavailable("this handler needs Redis, which is unavailable")
    if fresh is not None and record.is_stored and not record.is_sealable and not record.known_ms:
        raise StoreUnavailable("an access token proves a recent sign-in only while Redis has its session")
    if fresh is not None and current.manager.clock.now_ms() - record.auth_ms > fresh * 1000:
        raise ReauthenticationRequired(f"this needs a sign-in or re-authentication within {fresh:g} s", fresh_seconds=fresh)


def background(handler: Handler) -> Handler:
    """Mark a handler that pages poll. Its requests do not extend the session, because the user does not cause them.

    It marks functions, methods, a `web.View` or one of its methods, and `functools.partial` objects, before or after
    `require_auth`. A function is marked wherever it is used. Only a bound method is wrapped instead.
    """
    if not inspect.ismethod(handler):
        target = handler.__func__ if isinstance(handler, (staticmethod, classmethod)) else handler
        setattr(target, _BACKGROUND, True)
        return handler

    method: Callable[..., Awaitable[web.StreamResponse]] = handler

    @functools.wraps(method)  # a bound method takes no attributes, and its function serves other objects too
    async def marked(*args: Any, **kwargs: Any) -> web.StreamResponse:
        return await method(*args, **kwargs)

    setattr(marked, _BACKGROUND, True)
    return marked  # type: ignore[return-value]


def keep_cookie(request: web.Request) -> None:
    """Let the response leave the client's cookie as it is: it is neither renewed nor cleared. The session itself is renewed.

    Call it in a handler whose response a proxy adds to another application's response, which a shared cache may store.
    A later response does what this one left. A session with a new id still gets its cookie.
    """
    try:
        request[REQUEST_SESSION].keeps_cookie = True
    except KeyError:
        get_request_session(request)  # which says what is wrong


def renew_cookie(request: web.Request) -> None:
    """Let the response renew the cookie if it is older than `SESSION_RENEW_INTERVAL`, also if the session itself is not due.

    Earlier responses may have renewed the session and kept the cookie (`keep_cookie`). Does nothing for a bearer, for a request
    that does not extend the session, and while Redis is unavailable. Raises `RuntimeError` if the application was not set up.
    """
    current = get_request_session(request)
    record = current.record
    if record.is_sealable and 0 < record.sealed_ms < current.manager.renewal_horizon() and not is_background(request):
        current.reissue = True


def is_background(request: web.Request) -> bool:
    """Whether this request must not extend the session."""
    if request.headers.get(_RENEW) == "no":
        return True
    found = request.match_info
    return found.http_exception is None and _is_marked(found.handler, request.method)


@functools.lru_cache(maxsize=1024)  # aiohttp keeps as many of its middleware chains
def _is_marked(handler: Any, method: str) -> bool:
    """Whether a handler is marked, or the part of it that serves this method. A HEAD that a GET handler serves counts as a GET.

    aiohttp calls a `web.View`'s method of the request's name in lower case.
    """
    while handler is not None:
        if getattr(handler, _BACKGROUND, False):
            return True
        if isinstance(handler, type):
            handler = getattr(handler, method.lower(), None)
        elif isinstance(handler, functools.partial):
            handler = handler.func
        else:
            handler = getattr(handler, "__wrapped__", None)
    return False


class OriginCheck:
    """Refuses unsafe requests that a browser says come from another site, signed in or not.

    A request without `Origin` and `Sec-Fetch-Site` does not come from a browser that would add a user's cookie to it
    (https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site). A sibling subdomain is foreign.
    `exempt`: handlers for requests that repeat the method and origin of another application's request (forward auth).
    """

    def __init__(self, settings: Settings, proxies: Proxies, exempt: Collection[Callable[..., Any]] = ()) -> None:
        self._exempt = frozenset(exempt)
        self._ours = frozenset(settings.own_origins if settings.public_origins else ())
        # To an application in a web view of its own scheme each of our addresses is another site.
        self._allowed = frozenset(settings.cors_origins).union(each for each in self._ours if _is_of_an_app(each))
        self._proxies = proxies

    def check(self, request: web.Request) -> None:
        """Raises `ForeignOrigin`."""
        if request.method in SAFE_METHODS or request.match_info.handler in self._exempt or self._is_allowed(request):
            return
        self.check_origin(request)
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise ForeignOrigin("the browser says that the request comes from another site")

    def check_origin(self, request: web.Request) -> None:
        """Check `Origin` alone, whatever the method: browsers send it when they open a WebSocket, from any page.

        Raises `ForeignOrigin`. https://www.rfc-editor.org/rfc/rfc6455#section-10.2
        """
        origin = request.headers.get("Origin")
        if origin is None or self._is_allowed(request):
            return
        if origin and plain_origin(origin) in (self._ours or {self._proxies.origin(request)}):
            return
        raise ForeignOrigin(
            "the request comes from another origin; behind a proxy the operator must set TRUSTED_PROXIES or PUBLIC_ORIGINS"
        )

    def _is_allowed(self, request: web.Request) -> bool:
        return bool(self._allowed) and plain_origin(request.headers.get("Origin", "")) in self._allowed


def _is_of_an_app(origin: str) -> bool:
    return origin.partition(":")[0] not in DEFAULT_PORTS


def _request_among(args: tuple[Any, ...]) -> web.Request:
    """The request of `handler(request)`, `method(self, request)` or a `web.View`'s `get(self)`."""
    for each in args:
        if isinstance(each, web.Request):
            return each
    for each in args:  # after the arguments themselves: an object with a method for a handler may hold some other request
        request = getattr(each, "request", None)
        if isinstance(request, web.Request) and not inspect.ismodule(each):
            return request
    raise TypeError("require_auth found no request among the arguments; use it on handlers of aiohttp")
