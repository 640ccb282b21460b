"""Browsers at the running service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from ..conftest import ServiceClient
from .visitor import FIREFOX, Visitor


class NewVisitor(Protocol):
    async def __call__(self, user_agent: str = FIREFOX) -> Visitor: ...


@pytest.fixture
async def new_visitor(service: ServiceClient) -> AsyncIterator[NewVisitor]:
    """Another browser."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(user_agent: str = FIREFOX) -> Visitor:
            return await stack.enter_async_context(Visitor(service, user_agent))

        yield make


@pytest.fixture
async def visitor(new_visitor: NewVisitor) -> Visitor:
    return await new_visitor()
