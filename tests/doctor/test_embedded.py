"""Findings about the embedded server: it has no failover, but it may hang or belong to another user."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from stateroom.backend.embedded import EmbeddedServer
from stateroom.doctor import stores
from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Level
from stateroom.drills.node import server_binary
from stateroom.settings import Settings

from .conftest import PATIENT, found, only


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**(PATIENT | {"state_dir": tmp_path / "var"}))


@contextmanager
def paused(server: EmbeddedServer) -> Iterator[None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_one_that_hangs_is_found_and_one_that_is_gone_is_none(settings: Settings) -> None:
    server = EmbeddedServer(settings.state_dir, server_binary())
    await server.start()
    try:
        assert await found(settings) == []
        with paused(server):
            finding = await only(settings, "server-unreachable")
        assert "does not answer in time" in finding.what
    finally:
        await server.stop()
    report = await examine(settings)
    assert {finding.level for finding in report.findings} == {Level.OK}
    assert "the server does not run" in report.findings[1].what


async def test_a_folder_of_another_user_is_a_line_with_its_mend(settings: Settings) -> None:
    refused = mock.PropertyMock(side_effect=PermissionError(13, "Permission denied"))
    with mock.patch.object(EmbeddedServer, "is_there", refused):
        finding = await only(settings, "server-unreachable")
    assert "Permission denied" in finding.what
    assert "as the user that the service runs as" in finding.fix


async def test_without_a_server_binary_sessions_live_in_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "find_server", lambda: None)
    assert (await only(settings, "no-server")).level is Level.WARNING
