"""The prefixes under which the service's paths are served too: what is under them, and that each path means the same there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_aiohttp import AiohttpClient
from yarl import URL

from stateroom import Settings, SettingsError
from stateroom.api.mounts import OWN, Mounts
from stateroom.api.openapi import document
from stateroom.app import api_routes, make_app
from stateroom.telemetry.requests import UNMATCHED

from ..conftest import ServiceClient
from ..servers import Servers
from .test_metrics import figure, scrape, status

SSO = "/sso"
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
NOT_FOR_BROWSERS = {
    "/livez", "/readyz", "/api/health", "/metrics", "/auth/forward", "/auth/request", "/auth/ext-authz/{path}",
}  # fmt: skip


@pytest.fixture
def service_settings(servers: Servers, tmp_path: Path) -> Settings:
    return servers.service_settings(tmp_path, public_url=f"https://example.com{SSO}", public_origins="")


def handlers(app: web.Application) -> dict[tuple[str, str], Any]:
    """The handler of each path and method."""
    return {(route.resource.canonical, route.method): route.handler for route in app.router.routes() if route.resource is not None}


async def found(service: ServiceClient, path: str, **headers: str) -> tuple[int, str]:
    """The status and the Location of the answer to exactly this path."""
    url = URL(f"{str(service.make_url('/')).rstrip('/')}{path}", encoded=True)
    async with service.session.get(url, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response.status, response.headers.get("Location", "")


class TestSplit:
    @pytest.mark.parametrize(
        ("path", "prefix", "rest"),
        [
            ("/login", "", "/login"),
            ("/", "", "/"),
            ("/sso", "/sso", "/"),
            ("/sso/", "/sso", "/"),
            ("/sso/login", "/sso", "/login"),
            ("/sso/sso/login", "/sso", "/sso/login"),
            ("/ssox/login", "", "/ssox/login"),
            ("/SSO/login", "", "/SSO/login"),
            ("/sso%2Flogin", "", "/sso%2Flogin"),
            ("/a/sso/login", "", "/a/sso/login"),
            ("//sso/login", "", "//sso/login"),
            ("/.stateroom/api/auth/check", "/.stateroom", "/api/auth/check"),
            ("/.stateroomy", "", "/.stateroomy"),
        ],
    )
    def test_only_whole_segments_at_the_beginning_count(self, path: str, prefix: str, rest: str) -> None:
        assert Mounts(SSO).split(path) == (prefix, rest)

    def test_without_a_path_of_public_url_there_is_only_our_own_prefix(self) -> None:
        assert Mounts("").split("/sso/login") == ("", "/sso/login")
        assert Mounts("").split("/.stateroom/login") == ("/.stateroom", "/login")


class TestRoutes:
    def test_under_the_path_of_public_url_is_everything_but_forward_auth(self, service_settings: Settings) -> None:
        served = handlers(make_app(service_settings))
        plain = {key: handler for key, handler in served.items() if not key[0].startswith((OWN, SSO))}
        assert len(plain) > 50
        for (path, method), handler in plain.items():
            if path.startswith("/auth/"):
                assert (f"{SSO}{path}", method) not in served
                continue
            assert served[f"{SSO}{path}", method] is handler
        assert served[SSO, "GET"] is plain["/", "GET"]
        forward_auth = sum(path.startswith("/auth/") for path, _ in plain)
        assert sum(path.startswith(SSO) for path, _ in served) == len(plain) - forward_auth + 2  # both ways to write the index

    def test_under_our_own_prefix_is_what_browsers_open(self, service_settings: Settings) -> None:
        served = handlers(make_app(service_settings))
        plain = {path for path, _ in served if not path.startswith((OWN, SSO))}
        assert plain >= NOT_FOR_BROWSERS
        for (path, method), handler in served.items():
            if path in plain - NOT_FOR_BROWSERS:
                assert served[f"{OWN}{path}", method] is handler
        ours = {path.removeprefix(OWN) for path, _ in served if path.startswith(OWN)}
        assert ours - {""} == plain - NOT_FOR_BROWSERS

    def test_without_a_path_of_public_url_no_other_prefix_is_served(self, service_settings: Settings) -> None:
        app = make_app(service_settings.model_copy(update={"public_url": "https://example.com"}))
        assert not [path for path, _ in handlers(app) if path.startswith(SSO)]
        assert (f"{OWN}/login", "GET") in handlers(app)

    def test_our_own_prefix_as_the_path_of_public_url_adds_nothing(self, service_settings: Settings) -> None:
        app = make_app(service_settings.model_copy(update={"public_url": f"https://example.com{OWN}"}))
        plain = make_app(service_settings.model_copy(update={"public_url": "https://example.com"}))
        assert handlers(app).keys() == handlers(plain).keys()

    @pytest.mark.parametrize(
        "path", ["/auth", "/api/sso", "/account", "/login", "/static", "/metrics", "/.well-known", f"{OWN}/sso"]
    )
    def test_a_path_of_public_url_that_is_ours_already_is_refused(self, service_settings: Settings, path: str) -> None:
        with pytest.raises(SettingsError, match=r"^PUBLIC_URL: paths that begin with .* are Stateroom's own; choose another path"):
            make_app(service_settings.model_copy(update={"public_url": f"https://example.com{path}"}))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/sso", (303, "/sso/account")),
        ("/sso/", (303, "/sso/account")),
        ("/.stateroom", (303, "/.stateroom/account")),
        ("/.stateroom/", (303, "/.stateroom/account")),
        ("/sso/account", (303, "/sso/login")),
        ("/sso/account?a=b", (303, "/sso/login?rd=/sso/account%3Fa%3Db")),
        ("/.stateroom/account", (303, "/.stateroom/login")),
        ("/%73so/account", (303, "/sso/login?rd=/%2573so/account")),
        ("/sso/account/password", (303, "/sso/account")),
        ("/sso/livez", (200, "")),
        ("/sso/api/health", (200, "")),
        ("/.stateroom/livez", (404, "")),
        ("/.stateroom/api/health", (404, "")),
        ("/.stateroom/metrics", (404, "")),
        ("/.stateroom/auth/request", (404, "")),
        ("/.stateroom/auth/ext-authz/x", (404, "")),
        ("/ssox/login", (404, "")),
        ("/SSO/login", (404, "")),
        ("/sso%2Flogin", (404, "")),
        ("/sso%2flogin", (404, "")),
        ("/sso//login", (404, "")),
        ("//sso/login", (404, "")),
        ("/sso/./login", (404, "")),
        ("/sso/../login", (404, "")),
        ("/sso/%2e%2e/login", (404, "")),
        ("/sso/sso/login", (404, "")),
        ("/.stateroom/sso/login", (404, "")),
    ],
)
async def test_prefixes_are_whole_segments_and_redirects_keep_them(
    service: ServiceClient, path: str, expected: tuple[int, str]
) -> None:
    code, location = await found(service, path, **BROWSER)
    assert (code, location.partition("?")[0] if "account?" not in path and "%73" not in path else location) == expected


async def test_a_wrong_method_names_the_right_ones(service: ServiceClient) -> None:
    async with service.delete("/sso/api/auth/login") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_a_session_is_the_same_under_each_prefix(service: ServiceClient) -> None:
    async with service.post("/sso/api/auth/register", json=ADA) as response:
        assert response.status == 201
    for prefix in ("", "/sso", OWN):
        async with service.get(f"{prefix}/api/auth/check") as response:
            assert (await response.json())["authenticated"]
    async with service.post(f"{OWN}/api/auth/logout") as response:
        assert response.status == 200
    async with service.get("/sso/api/auth/check") as response:
        assert not (await response.json())["authenticated"]


async def test_foreign_origins_are_refused_under_each_prefix(service: ServiceClient) -> None:
    foreign = {"Origin": "https://attacker.example"}
    for prefix in ("/sso", OWN):
        async with service.post(f"{prefix}/api/auth/logout", headers=foreign) as response:
            assert response.status == 403
    for path in ("/sso/auth/request", "/sso/auth/forward", "/sso/auth/ext-authz/form"):
        async with service.get(path, headers={"X-Original-URL": "https://bank.example.com/"}) as response:
            assert response.status == 404


async def test_static_files_never_renew_the_cookie(servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    renews_always = servers.service_settings(tmp_path, session_renew_interval=0.001)
    service: ServiceClient = await aiohttp_client(make_app(renews_always))
    async with service.post("/api/auth/register", json=ADA) as response:
        assert response.status == 201
    async with service.get(f"{OWN}/static/pages.css") as response:
        assert response.status == 200
        assert "Set-Cookie" not in response.headers
    async with service.get(f"{OWN}/api/auth/check") as response:
        assert "Set-Cookie" in response.headers


async def test_an_unverified_account_may_do_under_a_prefix_what_it_may_do_without(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    mail = {"mail_url": f"file:{tmp_path}/mails", "mail_from": "a@example.com", "public_url": "http://127.0.0.1"}
    service: ServiceClient = await aiohttp_client(
        make_app(servers.service_settings(tmp_path, **mail, registration="open", email_verification="required"))
    )
    async with service.post(f"{OWN}/api/auth/register", json=ADA) as response:
        assert response.status == 202
    async with service.post(f"{OWN}/api/auth/login", json={name: ADA[name] for name in ("email", "password")}) as response:
        assert response.status == 200
    async with service.get(f"{OWN}/api/auth/check") as response:
        assert response.status == 200
    async with service.get(f"{OWN}/api/sessions") as response:
        assert response.status == 403
        assert (await response.json())["type"].endswith("verification-required")
    assert await found(service, f"{OWN}/account", **BROWSER) == (303, f"{OWN}/verify")


async def test_metrics_and_logs_name_a_route_without_its_prefix(service: ServiceClient) -> None:
    for prefix in ("", "/sso", OWN, "/ssox"):
        async with service.get(f"{prefix}/api/auth/check") as response:
            await response.read()
    text = await scrape(service)
    assert figure(text, "http_requests_total", method="GET", route="/api/auth/check", code="200") == 3
    assert figure(text, "http_requests_total", method="GET", route=UNMATCHED, code="404") == 1
    assert SSO not in text
    assert OWN not in text


async def test_under_a_published_path_the_metrics_need_the_token(
    servers: Servers, tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    settings = servers.service_settings(
        tmp_path, public_url=f"https://example.com{SSO}", public_origins="", metrics_token="a-token-of-prometheus"
    )
    service: ServiceClient = await aiohttp_client(make_app(settings))
    assert await status(service) == 200
    for token, expected in (("a-token-of-prometheus", 200), ("another", 404)):
        async with service.get("/sso/metrics", headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == expected
    assert (await found(service, "/sso/metrics"))[0] == 404


async def test_the_index_names_the_health_check_where_there_is_one(service: ServiceClient) -> None:
    for path, told in (
        ("/", {"name": "stateroom", "health": "/api/health"}),
        ("/sso/", {"name": "stateroom", "health": "/sso/api/health"}),
        (f"{OWN}/", {"name": "stateroom"}),
    ):
        async with service.get(path) as response:
            assert await response.json() == told


class TestOpenapi:
    @pytest.mark.parametrize("prefix", ["", SSO, OWN])
    async def test_the_document_is_for_the_prefix_by_which_it_is_read(self, service: ServiceClient, prefix: str) -> None:
        async with service.get(f"{prefix}/api/openapi.json") as response:
            told = await response.json()
        OpenAPIV31SpecValidator(told).validate()
        assert told["servers"] == [{"url": prefix or "/"}]
        for path, methods in told["paths"].items():
            if "get" in methods and "{" not in path:
                assert (await found(service, f"{prefix}{path}"))[0] not in {404, 405} or path in {
                    "/.well-known/jwks.json",
                    "/metrics",
                }

    def test_only_our_own_prefix_leaves_paths_out(self, service_settings: Settings) -> None:
        whole = set(document(api_routes(), service_settings)["paths"])
        assert whole >= NOT_FOR_BROWSERS

    async def test_the_paths_of_our_own_prefix(self, service: ServiceClient, service_settings: Settings) -> None:
        whole = set(document(api_routes(), service_settings)["paths"])
        forward_auth = {path for path in whole if path.startswith("/auth/")}
        for prefix, missing in (("", set[str]()), (SSO, forward_auth), (OWN, NOT_FOR_BROWSERS)):
            async with service.get(f"{prefix}/api/openapi.json") as response:
                assert whole - set((await response.json())["paths"]) == missing

    def test_the_printed_document_is_for_public_url(self, service_settings: Settings) -> None:
        printed = document(api_routes(), service_settings)
        OpenAPIV31SpecValidator(printed).validate()
        assert printed["servers"] == [{"url": SSO}]
        at_the_root = {path for path, methods in printed["paths"].items() if any("servers" in each for each in methods.values())}
        assert at_the_root == {path for path in printed["paths"] if path.startswith("/auth/")} != set()
