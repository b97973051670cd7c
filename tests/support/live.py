"""The real service on real servers, listening on a real socket, inside the test's process."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import orjson

from app.api.services import Services
from app.bootstrap import Settings, build_services, with_worker
from app.main import create_app
from app.serving import listen, make_server
from app.telemetry.tracing import Tracing

# For clients of a service on this machine: certificates take 30 ms to load.
PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}


@dataclass(frozen=True)
class Remote:
    """A running service as somebody sees it: its base address, and an HTTP client on it."""

    url: str
    http: httpx2.AsyncClient

    @asynccontextmanager
    async def with_key(self, key: str) -> AsyncIterator["Live"]:
        """The service as who has this credential sees it."""
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, **PLAIN) as http:
            yield replace(self, http=http)

    async def json(self, method: str, path: str, status: int = 200, **request: Any) -> Any:
        """Send a request, assert its status, return its JSON (None for an empty body)."""
        response = await self.http.request(method, path, **request)
        assert response.status_code == status, (response.status_code, response.text)
        return response.json() if response.content else None

    async def portfolio(self, name: str, **texts: str) -> int:
        """A new portfolio with documents of these titles and texts, indexed."""
        created = await self.json("POST", "/api/portfolios", 201, json={"name": name})
        await self.add(created["id"], **texts)
        return int(created["id"])

    async def add(self, portfolio_id: int, **texts: str) -> list[int]:
        """Add or replace documents, by title as their uri; their ids."""
        documents = [
            {"title": title, "text": text, "uri": f"test:{title}"} for title, text in texts.items()
        ]
        if not documents:
            return []
        added = await self.json(
            "POST",
            f"/api/portfolios/{portfolio_id}/documents?wait=true",
            json={"documents": documents},
        )
        return [int(each) for each in added["ids"]]

    async def agent(self, name: str, portfolio_id: int | None, **values: Any) -> int:
        """A new agent on a portfolio."""
        body = {"name": name, "portfolio_id": portfolio_id, **values}
        return int((await self.json("POST", "/api/agents", 201, json=body))["id"])

    async def ask(self, agent_id: int, message: str, **options: Any) -> Any:
        """The whole answer of the sync path."""
        body = {"message": message, **options}
        return await self.json("POST", f"/api/agents/{agent_id}/chat", json=body)

    async def stream(self, agent_id: int, message: str, **options: Any) -> list[Any]:
        """The events of the stream path, decoded, to the end of the connection."""
        body = {"message": message, **options}
        path = f"/api/agents/{agent_id}/chat/stream"
        async with self.http.stream("POST", path, json=body) as response:
            assert response.status_code == 200, await response.aread()
            return [event async for event in events(response)]


@dataclass(frozen=True)
class Live(Remote):
    """One in this process, with its insides."""

    services: Services


async def events(response: httpx2.Response) -> AsyncGenerator[Any, None]:
    """The JSON of each `data:` line as it comes."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield orjson.loads(line[5:])


# A machine that is busy with other things answers late, which is `degraded`, and is not cached.
PATIENT = {
    f"{source}_deadline_seconds": 20.0 for source in ("source", "graph", "persona", "domain")
}


@asynccontextmanager
async def live_service(**settings: Any) -> AsyncIterator[Live]:
    """Serve with these settings (beyond the environment's) on a free port of 127.0.0.1."""
    unread_seconds = settings.pop("unread_seconds", 30.0)
    tracing = settings.pop("tracing", None) or Tracing()
    configured = Settings(**{"drain_seconds": 1, "retrieval": PATIENT, **settings})
    listener = listen("127.0.0.1", 0, unread_seconds)
    with listener:
        async with build_services(configured, tracing) as services:
            application = create_app(
                lambda: with_worker(configured, services),
                telemetry=tracing.http,
                origins=configured.cors_origins,
            )
            server = make_server(
                application,
                end_runs=services.engine.close,
                drain_seconds=configured.drain_seconds,
            )
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            assert await server.is_up(serving)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            try:
                async with httpx2.AsyncClient(base_url=url, timeout=30, **PLAIN) as http:
                    yield Live(url, http, services)
            finally:
                server.stop()
                await serving


def unique(prefix: str) -> str:
    """A name no other test uses."""
    return f"{prefix}-{os.urandom(4).hex()}"
