"""Foreign servers for the tests: one that does as it is told, and clients of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fault_server import FaultServer
from pool_calls import SECRET, Open, OpenPool

from zaffre.core.plan import Upstream
from zaffre.upstream.foreign.client import ForeignClient
from zaffre.upstream.foreign.credential import Credential
from zaffre.upstream.pool import UpstreamPool


@pytest.fixture
async def fault() -> AsyncIterator[FaultServer]:
    """A server that does as it is told."""
    async with FaultServer().listening() as server:
        yield server


@pytest.fixture
async def spare() -> AsyncIterator[FaultServer]:
    """Another one."""
    async with FaultServer().listening() as server:
        yield server


@pytest.fixture
async def connect(fault: FaultServer) -> AsyncIterator[Open]:
    """Opens clients of `fault`, in the dialect and with the bounds asked for."""
    async with AsyncExitStack() as stack:

        def open_client(secret: str | None = SECRET, **fields: Any) -> ForeignClient:
            upstream = Upstream(**{"url": f"{fault.url}/v1", "model": "their-name", **fields})
            client = ForeignClient(upstream, "our-name", Credential(secret) if secret else None)
            stack.push_async_callback(client.aclose)
            return client

        yield open_client


@pytest.fixture
async def pooled() -> AsyncIterator[OpenPool]:
    """Makes pools over the upstreams given."""
    async with AsyncExitStack() as stack:

        def open_pool(*upstreams: Upstream, **options: Any) -> UpstreamPool:
            pool = UpstreamPool("our-name", upstreams, {"KEY": SECRET}, **options)
            stack.push_async_callback(pool.aclose)
            return pool

        yield open_pool
