"""Who asks and who changes, at random moments of each other."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.soak.asking import ask, stream
from tests.soak.deployment import Deployment
from tests.soak.freshness.room import SUBJECTS, WORDINGS, Room, new_word, prompt_of, text_of

EXAMPLES = 5
EXAMPLE_CHARS = 300
# Longer than most answers take here, so that a change meets them at any point.
PAUSE_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: all that was said, and how it ended."""

    whole: str
    error: str | None
    done: dict[str, Any]


class Counts:
    """What is counted, with the first examples of what should not be."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.of: Counter[str] = Counter()
        self._note = note

    def wrong(self, kind: str, example: str) -> None:
        self.of[kind] += 1
        if self.of[kind] <= EXAMPLES:
            self._note(f"{kind}: {' '.join(example.split())[:EXAMPLE_CHARS]}")


class Client:
    """One user, at any worker. `answered` is the conversation that he may go on with."""

    def __init__(self, running: Deployment, counts: Counts, chance: random.Random) -> None:
        self.running = running
        self.counts = counts
        self.chance = chance
        self._conversation: tuple[int, str] | None = None

    # --- asking ----------------------------------------------------------------------------------

    async def ask(self, room: Room, subject: str) -> None:
        """Ask in one of the wordings, by the one way or the other; judge what is told."""
        shelf, changes, quiet = room.here, room.changes, room.under_way == 0
        expected = shelf.holders.get(subject)
        message = self.chance.choice(WORDINGS).format(subject)
        began = time.monotonic()
        told = await self._told(room, message)
        self.counts.of["answers"] += 1
        if told.error is not None:
            self.counts.wrong("requests that failed", f"{message} {told.error}")
            return
        if stale := room.stale(told.whole, began):
            self.counts.wrong("answers with what was gone", f"{message} {stale} {told.done}")
        self._count_way(told.done)
        self.counts.of["answers written while a change was acknowledged"] += (
            room.acknowledged_between(began, time.monotonic())
        )
        if not quiet or room.changes != changes or told.done["degraded"]:
            return
        self.counts.of["answers that had to have the text of the time"] += 1
        if expected is not None and expected not in told.whole:
            self.counts.wrong("answers without the text of the time", f"{expected}: {told.whole}")

    async def _told(self, room: Room, message: str) -> Told:
        url = self.chance.choice(self.running.urls)
        body: dict[str, Any] = {}
        if self._conversation and self._conversation[0] == room.agent and self._sometimes(0.3):
            body["conversation_id"] = self._conversation[1]
        way = _stream if self._sometimes(0.6) else _ask
        try:
            told = await way(self.running.http, url, room.agent, message, **body)
        except httpx2.HTTPError as error:
            return Told("", repr(error), {})
        if told.error is None:
            self._conversation = (room.agent, told.done["conversation_id"])
        return told

    def _count_way(self, done: dict[str, Any]) -> None:
        timings = done["timings_ms"]
        if done["cached"]:
            way = "by another question" if "semantic" in timings else "by the same question"
            self.counts.of[f"answers found {way}"] += 1
        elif "generate" not in timings:
            self.counts.of["answers shared while they were written"] += 1
        self.counts.of["degraded answers"] += bool(done["degraded"])

    # --- changing --------------------------------------------------------------------------------

    async def change(self, room: Room, subject: str) -> None:
        """Replace the document or delete it, give the agent another prompt or portfolio; then ask,
        at once."""
        changes: Sequence[Callable[[Room, str], Awaitable[None]]] = (
            self.replace, self.delete, self.instruct, self.move
        )  # fmt: skip
        [change] = self.chance.choices(changes, (6, 2, 2, 2))
        if change == self.delete and subject not in room.here.ids:
            change = self.replace
        await change(room, subject)
        await self.ask(room, subject)

    async def replace(self, room: Room, subject: str) -> None:
        shelf, holder = room.here, new_word("holder")
        former = shelf.holders.get(subject)
        title = f"{subject} cabinet"
        document = {"title": title, "text": text_of(subject, holder), "uri": f"soak:{subject}"}
        path = f"/api/portfolios/{shelf.portfolio_id}/documents?wait=true"
        async with self._changing(room):
            added = await self._send("POST", path, json={"documents": [document]})
            if added["items"][0]["status"] != "indexed":
                raise RuntimeError(f"Not indexed: {added}")
            shelf.ids[subject], shelf.holders[subject] = added["ids"][0], holder
            room.withdraw([former] if former else [])

    async def delete(self, room: Room, subject: str) -> None:
        shelf = room.here
        async with self._changing(room):
            await self._send("DELETE", f"/api/documents/{shelf.ids.pop(subject)}")
            room.withdraw([shelf.holders.pop(subject)])

    async def instruct(self, room: Room, subject: str) -> None:
        """Another prompt: the agent's answers are others from then on, whoever writes them."""
        former, room.revision = room.revision, new_word("revision")
        async with self._changing(room):
            body = {"system_prompt": prompt_of(room.revision)}
            await self._send("PATCH", f"/api/agents/{room.agent}", json=body)
            room.withdraw([former])

    async def move(self, room: Room, subject: str) -> None:
        """The agent gets the other portfolio."""
        former, other = room.here, (room.shelf + 1) % len(room.shelves)
        async with self._changing(room):
            room.readmit(room.shelves[other].holders.values())
            body = {"portfolio_id": room.shelves[other].portfolio_id}
            await self._send("PATCH", f"/api/agents/{room.agent}", json=body)
            room.shelf = other
            room.withdraw(former.holders.values())

    @asynccontextmanager
    async def _changing(self, room: Room) -> AsyncIterator[None]:
        room.changes += 1
        room.under_way += 1
        try:
            yield
        finally:
            room.changes += 1
            room.under_way -= 1
        self.counts.of["changes"] += 1

    async def _send(self, method: str, path: str, **request: Any) -> Any:
        url = self.chance.choice(self.running.urls)
        response = await self.running.http.request(method, f"{url}{path}", **request)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else {}

    def _sometimes(self, share: float) -> bool:
        return self.chance.random() < share


async def interleaving(room: Room, clients: Sequence[Client]) -> None:
    """The first changes, the others ask, each a few times and at any moment; mostly about one
    document, so that there is something to be found."""
    writer, *askers = clients
    subject = writer.chance.choice(SUBJECTS)

    async def act(client: Client, step: Callable[[Room, str], Awaitable[None]]) -> None:
        for _ in range(client.chance.randint(1, 3)):
            await asyncio.sleep(client.chance.random() * PAUSE_SECONDS)
            about = subject if client.chance.random() < 0.8 else client.chance.choice(SUBJECTS)
            await step(room, about)

    async with asyncio.TaskGroup() as group:
        group.create_task(act(writer, writer.change))
        for client in askers:
            group.create_task(act(client, client.ask))


async def _stream(
    http: httpx2.AsyncClient, url: str, agent: int, message: str, **body: Any
) -> Told:
    heard = await stream(http, url, agent, message, **body)
    whole = heard.raw.decode()
    if heard.ended != "done":
        return Told(whole, f"ended with {heard.events[-1:]}, {heard.status} {whole[:200]}", {})
    # A word may be cut in two by its tokens.
    return Told(f"{whole}\n{heard.text}", None, heard.events[-1])


async def _ask(http: httpx2.AsyncClient, url: str, agent: int, message: str, **body: Any) -> Told:
    response = await ask(http, url, agent, message, **body)
    if response.status_code != 200:
        return Told(response.text, f"{response.status_code} {response.text[:200]}", {})
    return Told(response.text, None, response.json())
