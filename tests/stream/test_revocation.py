"""A credential that is revoked ends the streams that were opened with it, and no others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from app.api.revocation import LOOK_SECONDS
from tests.support.live import PLAIN, Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import until

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
ASKED = {"message": "Who finished Atlas?", "cache": "off"}
ENDED = ["unauthorized"]


class Room:
    """A service whose model says two words and waits, and a tenant's owner in front of it."""

    def __init__(self, owner: Live, agent: int, gate: asyncio.Event) -> None:
        self.owner, self.agent, self._gate = owner, agent, gate

    async def look(self) -> None:
        await self.owner.services.revocation.look()

    def go_on(self) -> None:
        """Let the model say the rest."""
        self._gate.set()

    async def key(self, **values: Any) -> Any:
        body = {"name": "k", "role": "member", **values}
        return await self.owner.json("POST", "/api/keys", 201, json=body)

    async def stream(self, credential: dict[str, Any], path: str | None = None) -> "Open":
        return await Open(self, credential, path).begun()


class Open:
    """A stream that has had a token."""

    def __init__(self, room: Room, credential: dict[str, Any], path: str | None) -> None:
        self.seen: list[Any] = []
        self._room, self._credential, self._path = room, credential, path
        self._flowing = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def begun(self) -> "Open":
        await asyncio.wait_for(self._flowing.wait(), 20)
        return self

    async def ended(self) -> list[str]:
        """The codes of the events that ended it; "done" is that of an answer."""
        await asyncio.wait_for(self._reading, 20)
        kinds = ("done", "error")
        return [each.get("code", "done") for each in self.seen if each["type"] in kinds]

    @property
    def run_id(self) -> str:
        return str(self.seen[0]["run_id"])

    async def _read(self) -> None:
        path = self._path or f"/api/agents/{self._room.agent}/chat/stream"
        how = ("GET", {}) if self._path else ("POST", {"json": ASKED})
        async with (
            httpx2.AsyncClient(
                base_url=self._room.owner.url, timeout=30, **PLAIN, **self._credential
            ) as http,
            http.stream(how[0], path, **how[1]) as response,
        ):
            assert response.status_code == 200, await response.aread()
            async for event in events(response):
                self.seen.append(event)
                if event["type"] == "token":
                    self._flowing.set()


def bearer(key: Any) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {key['key']}"}}


@pytest.fixture
async def room(connections: dict[str, Any]) -> AsyncIterator[Room]:
    gate = asyncio.Event()
    script = Script(tokens=["Ana", " Ruiz", " did [1]."], gates={2: gate})
    async with VendorServer(script) as vendor:
        model = {"openai_api_key": "sk-test", "openai_base_url": vendor.openai_url}
        async with live_service(**connections, **model) as service:
            key = await service.services.credentials.create(unique("tenant"), "first")
            async with service.with_key(key) as owner:
                portfolio = await owner.portfolio(unique("docs"), Atlas=TEXT)
                agent = await owner.agent(unique("agent"), portfolio, provider="openai")
                yield Room(owner, agent, gate)
                gate.set()


async def test_a_revoked_key_ends_its_streams_and_no_others(room: Room) -> None:
    key, other = await room.key(), await room.key()
    ending = [await room.stream(bearer(key)) for _ in range(2)]
    going_on = await room.stream(bearer(other))
    follower = await room.stream(bearer(key), f"/api/runs/{ending[0].run_id}/events")
    await room.look()
    await room.owner.json("DELETE", f"/api/keys/{key['id']}", 204)
    await room.look()
    for stream in (*ending, follower):
        assert await stream.ended() == ENDED
        assert stream.seen[-1]["retryable"] is False
    await until(lambda: len(room.owner.services.engine.runs.active) == 1)
    room.go_on()
    assert await going_on.ended() == ["done"]


async def test_a_run_goes_on_for_who_still_may_follow_it(room: Room) -> None:
    user = await room.owner.json("POST", "/api/users", 201, json={"email": "a@example.com"})
    first, second = [await room.key(user_id=user["id"]) for _ in range(2)]
    stream = await room.stream(bearer(first))
    follower = await room.stream(bearer(second), f"/api/runs/{stream.run_id}/events")
    await room.owner.json("DELETE", f"/api/keys/{first['id']}", 204)
    await room.look()
    assert await stream.ended() == ENDED
    room.go_on()
    assert await follower.ended() == ["done"]


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "member"}, None])
async def test_a_user_who_is_disabled_demoted_or_removed(
    room: Room, change: dict[str, Any] | None
) -> None:
    body = {"email": "a@example.com", "role": "admin"}
    user = await room.owner.json("POST", "/api/users", 201, json=body)
    stream = await room.stream(bearer(await room.key(user_id=user["id"], role="admin")))
    path = f"/api/users/{user['id']}"
    if change is None:
        await room.owner.json("DELETE", path, 204)
    else:
        await room.owner.json("PATCH", path, json=change)
    await room.look()
    assert await stream.ended() == ENDED


@pytest.mark.parametrize("how", ["sign out", "revoke the key"])
async def test_a_session_that_ends(room: Room, how: str) -> None:
    key = await room.key()
    async with httpx2.AsyncClient(base_url=room.owner.url, **PLAIN) as page:
        signed_in = await page.post("/api/session", json={"credential": key["key"]})
        changing = {"X-CSRF-Token": signed_in.json()["csrf_token"]}
        stream = await room.stream({"cookies": dict(page.cookies), "headers": changing})
        if how == "sign out":
            assert (await page.delete("/api/session", headers=changing)).status_code == 204
        else:
            await room.owner.json("DELETE", f"/api/keys/{key['id']}", 204)
    await room.look()
    assert await stream.ended() == ENDED


async def test_whoever_waits_for_a_whole_answer_is_refused(room: Room) -> None:
    key = await room.key()
    async with room.owner.with_key(key["key"]) as caller:
        path = f"/api/agents/{room.agent}/chat"
        asking = asyncio.create_task(caller.http.post(path, json=ASKED, timeout=30))
        await until(lambda: room.owner.services.revocation.watched == 1)
        await room.owner.json("DELETE", f"/api/keys/{key['id']}", 204)
        await room.look()
        refused = await asking
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    await until(lambda: not room.owner.services.engine.runs.active)


async def test_it_is_looked_for_by_itself_and_soon_enough(room: Room) -> None:
    assert LOOK_SECONDS <= 10
    key = await room.key()
    stream = await room.stream(bearer(key))
    await room.owner.json("DELETE", f"/api/keys/{key['id']}", 204)
    assert await stream.ended() == ENDED
