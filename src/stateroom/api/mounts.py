"""The prefixes under which the service's paths are served too: `/.stateroom`, and the path of `PUBLIC_URL`.

A proxy in front of an application passes a whole prefix to the service, and the application keeps every other path. Under
`/.stateroom` is what browsers open. Under the path of `PUBLIC_URL` are also the probes and metrics. The calls of forward auth are
under no prefix: a client that reaches them can tell us what a proxy tells. The paths without a prefix stay.

Each route is registered once for each prefix, with the same handler. So a mark on a handler, and everything else that looks at the
handler, counts under each prefix. A page is opened under one prefix, and everything that it leads to keeps this prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from aiohttp import web

from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN = "/.stateroom"
"""The prefix that is always there. No application has paths of this name."""

Callers: TypeAlias = Literal["browsers", "monitoring", "proxies"]
"""Who calls a route. It decides under which prefixes the route is."""


class Mounts:
    """The prefixes of one application. The empty prefix stands for the paths without one.

    `labels`: the path without prefix, by the path of a route with one. Metrics and logs name both in the same way.
    """

    def __init__(self, public_path: str) -> None:
        """`public_path`: the path of `PUBLIC_URL`, empty if it has none."""
        self._prefixes = tuple(dict.fromkeys(filter(None, (OWN, public_path))))
        self._public_path = public_path
        self._labels: dict[str, str] = {}

    @property
    def labels(self) -> Mapping[str, str]:
        return self._labels

    def register(self, router: web.UrlDispatcher, routes: Iterable[web.AbstractRouteDef], *, callers: Callers) -> None:
        """Add routes to a router, as they are and under the prefixes at which these callers may reach them.

        Raises `SettingsError` if the path of `PUBLIC_URL` begins like one of the routes.
        """
        defined = [route for route in routes if isinstance(route, web.RouteDef)]
        self._check_is_free(defined)
        for route in defined:
            route.register(router)
        for prefix in self._reachable_by(callers):
            for route in defined:
                self._register_under(prefix, router, route)

    def split(self, path: str) -> tuple[str, str]:
        """The prefix of a path, and the rest of the path. Only whole segments count."""
        for prefix in self._prefixes:
            if path == prefix or path.startswith(f"{prefix}/"):
                return prefix, path[len(prefix) :] or "/"
        return "", path

    def _reachable_by(self, callers: Callers) -> Sequence[str]:
        match callers:
            case "browsers":
                return self._prefixes
            case "monitoring":
                return [prefix for prefix in self._prefixes if prefix != OWN]
        return ()

    def _register_under(self, prefix: str, router: web.UrlDispatcher, route: web.RouteDef) -> None:
        paths = [prefix, f"{prefix}/"] if route.path == "/" else [f"{prefix}{route.path}"]
        for path in paths:
            for each in web.RouteDef(route.method, path, route.handler, route.kwargs).register(router):
                assert each.resource is not None
                canonical = each.resource.canonical
                self._labels[canonical] = canonical.removeprefix(prefix) or "/"

    def _check_is_free(self, routes: Iterable[web.RouteDef]) -> None:
        taken = {route.path.split("/")[1] for route in routes}
        first = self._public_path.partition("/")[2].partition("/")[0]
        if first in taken - {""} or (first == OWN[1:] and self._public_path != OWN):
            raise SettingsError(
                f"PUBLIC_URL: paths that begin with /{first} are Stateroom's own; choose another path, for example /sso"
            )


MOUNTS = web.AppKey("stateroom_mounts", Mounts)


def mounted(request: web.Request, path: str) -> str:
    """The path of ours, under the prefix by which the client has opened this request: `/login` as `/.stateroom/login`."""
    return split_path(request)[0] + path


def split_path(request: web.Request) -> tuple[str, str]:
    """The prefix of a request's path, and the path without it. A slash that is encoded does not separate segments."""
    return request.app[MOUNTS].split(request.rel_url.path_safe)
