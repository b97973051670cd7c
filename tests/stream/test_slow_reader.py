"""A reader that takes nothing: its connection ends, and with it, as nobody else reads, its run."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer

# More than all buffers between the two hold; and there is no end to it.
MUCH = ["word " * 2000] * 2000

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels have no such deadline"
)


@pytest.fixture
async def vendor() -> AsyncIterator[VendorServer]:
    script = Script(tokens=MUCH, gates={len(MUCH): asyncio.Event()})
    async with VendorServer(script) as server:
        yield server


async def test_a_reader_without_progress_is_dropped(
    connections: dict[str, Any], vendor: VendorServer
) -> None:
    async with live_service(
        **connections, openai_api_key="test", openai_base_url=vendor.openai_url, unread_seconds=0.5
    ) as live:
        portfolio = await live.portfolio(unique("docs"), Atlas="Atlas is a map.")
        agent = await live.agent(unique("agent"), portfolio, provider="openai")
        reader = connect(live, agent)
        try:
            async with vendor.arrived:
                await vendor.arrived.wait_for(lambda: vendor.requests)
            await asyncio.wait_for(vendor.requests[0].gone.wait(), 20)
            [conversation] = (await live.json("GET", "/api/conversations?limit=1"))["items"]
            path = f"/api/conversations/{conversation['id']}"
            stored = (await live.json("GET", path))["messages"]
        finally:
            reader.close()
    assert [each["role"] for each in stored][:1] == ["user"]


def connect(live: Live, agent: int) -> socket.socket:
    """A connection that has asked, and reads nothing."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = live.url.removeprefix("http://").split(":")
    reader.connect((host, int(port)))
    body = json.dumps({"message": "What is Atlas?", "cache": "off"})
    reader.sendall(
        f"POST /api/agents/{agent}/chat/stream HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return reader
