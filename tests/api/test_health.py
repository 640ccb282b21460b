"""The health calls of orchestrators and load balancers."""

from __future__ import annotations

from stateroom import testing
from stateroom.api.health import READINESS

from ..conftest import ServiceClient


async def ask(client: ServiceClient, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.text()


async def test_health_tells_whether_redis_answers(service: ServiceClient) -> None:
    assert service.app is not None
    async with service.get("/api/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "healthy", "redis": "connected"})
    with testing.redis_down(service.app):
        async with service.get("/api/health") as response:
            assert (response.status, await response.json()) == (503, {"status": "unhealthy", "redis": "disconnected"})


async def test_without_redis_the_process_is_alive_and_ready(service: ServiceClient) -> None:
    assert service.app is not None
    with testing.redis_down(service.app):
        assert await ask(service, "/livez") == (200, "ok\n")
        assert await ask(service, "/readyz") == (200, "ok\n")


async def test_a_draining_process_takes_no_traffic_but_is_alive(service: ServiceClient) -> None:
    assert service.app is not None
    assert await ask(service, "/readyz?verbose") == (200, "[+]not_draining ok\n")
    service.app[READINESS].is_draining = True
    assert await ask(service, "/readyz") == (503, "unavailable\n")
    assert await ask(service, "/readyz?verbose") == (503, "[-]not_draining failed\n")
    assert (await ask(service, "/livez"))[0] == 200
