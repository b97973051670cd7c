"""Who uses the service all the time: writers and askers, and what they count."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2

from tests.soak.encoder_change.library import Document, Library
from tests.soak.encoder_change.rankings import Rankings, by_vector

EXAMPLES = 5  # of what went wrong, told below the table
TOP_K = 10


class Counts:
    """What is counted, with the first examples of what should not be."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.of: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self.encoders: Counter[str] = Counter()
        self._note = note

    def wrong(self, kind: str, example: str) -> None:
        self.of[kind] += 1
        if self.of[kind] <= EXAMPLES:
            self._note(f"{kind}: {example}")


class Client:
    """One user of one API process, at it until `over`."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        portfolio_id: int,
        library: Library,
        rankings: Rankings,
        counts: Counts,
        chance: random.Random,
    ) -> None:
        self.http = http
        self.portfolio_id = portfolio_id
        self.library = library
        self.rankings = rankings
        self.counts = counts
        self.chance = chance

    async def until(self, over: asyncio.Event, *steps: Callable[[], Any]) -> None:
        """One step after another, as chance has it."""
        while not over.is_set():
            await self.chance.choice(steps)()

    # --- writing ---------------------------------------------------------------------------------

    async def add(self, documents: Sequence[Document]) -> list[int]:
        """Add or replace, and wait until they are indexed; their ids, none where that failed."""
        self.library.begin(*(each.uri for each in documents))
        for each in documents:
            await self.rankings.learn(each.encoded)
        path = f"/api/portfolios/{self.portfolio_id}/documents?wait=true"
        body = {"documents": [each.fields() for each in documents]}
        answer = await self._send("POST", path, 200, json=body)
        if answer is None:
            return []
        for document, item in zip(documents, answer["items"], strict=True):
            if item["status"] == "indexed":
                self.library.settle(document.uri, document)
            else:
                self.counts.wrong("failed requests", f"not indexed: {item}")
        return [int(item["id"]) for item in answer["items"]]

    async def write(self, uris: Sequence[str], ids: dict[str, int]) -> None:
        """Add one of the documents, replace it, or, one time in four, delete it."""
        uri = self.chance.choice(uris)
        if uri not in ids or self.chance.random() >= 0.25:
            for document_id in await self.add([self.library.compose(uri)]):
                ids[uri] = document_id
            return
        self.library.begin(uri)
        if await self._send("DELETE", f"/api/documents/{ids.pop(uri)}", 204) is not None:
            self.library.settle(uri, None)

    # --- asking ----------------------------------------------------------------------------------

    async def search(self, sources: Sequence[str] | None = None) -> None:
        """Ask for a chunk by its own words; with `sources` vectors alone, exactly."""
        since = self.library.now
        wanted, number = self._choose()
        question = wanted.encoded[number]
        body = {"query": question, "portfolio_id": self.portfolio_id, "top_k": TOP_K}
        if sources:
            body["sources"] = list(sources)
        answer = await self._send("POST", "/api/retrieve", 200, json=body)
        if answer is None or self._is_degraded(answer):
            return
        passages = answer["passages"]
        self._check_order(question, passages, whole=sources is not None)
        self._check_presence(wanted, since, [each["uri"] for each in passages])
        for each in passages:
            entry = self.library.state(each["uri"], since)
            if entry and (not entry.document or each["text"] not in entry.document.chunks):
                self.counts.wrong("answers with a text that was gone", repr(each["text"]))

    async def search_vectors(self) -> None:
        await self.search(["vector"])

    async def chat(self, agent_id: int) -> None:
        """Ask as on the page: the whole stream, its sources and its end."""
        since = self.library.now
        wanted, number = self._choose()
        body = {"message": f"{wanted.chunks[number]}?", "portfolio_id": self.portfolio_id}
        events = await self._stream(f"/api/agents/{agent_id}/chat/stream", body)
        if not events or events[-1]["type"] != "done":
            self.counts.wrong("failed requests", f"a stream without an end: {events[-1:]}")
            return
        if self._is_degraded(events[-1]):
            return
        uris = [s["uri"] for each in events if each["type"] == "sources" for s in each["sources"]]
        self._check_presence(wanted, since, uris)

    def _choose(self) -> tuple[Document, int]:
        wanted = self.library.any(self.chance)
        return wanted, self.chance.randrange(len(wanted.chunks))

    def _is_degraded(self, answer: Mapping[str, Any]) -> bool:
        self.counts.of["answers"] += 1
        self.counts.degraded.update(answer["degraded"])
        self.counts.of["degraded answers"] += bool(answer["degraded"])
        return bool(answer["degraded"])

    def _check_order(self, question: str, passages: Sequence[Any], *, whole: bool) -> None:
        found = by_vector(passages)
        self.counts.of["results whose order was checked"] += 1
        whose = self.rankings.whose(question, found, whole=whole)
        if not whose:
            self.counts.wrong("results mixing encoders", f"{question!r} found {found}")
        elif len(whose) == 1:
            self.counts.encoders.update(whose)

    def _check_presence(self, wanted: Document, since: int, uris: Sequence[str]) -> None:
        entry = self.library.state(wanted.uri, since)
        if entry is None or entry.document is not wanted:
            return  # it was being changed meanwhile
        self.counts.of["answers that had to have a document"] += 1
        if wanted.uri not in uris:
            self.counts.wrong("answers missing an indexed document", f"{wanted.uri}: {uris}")

    # --- requests --------------------------------------------------------------------------------

    async def _send(self, method: str, path: str, status: int, **request: Any) -> Any:
        """The JSON of the answer ({} where it is empty); None where it is not what it should be."""
        self.counts.of["requests"] += 1
        try:
            response = await self.http.request(method, path, **request)
        except httpx2.HTTPError as error:
            self.counts.wrong("failed requests", f"{method} {path}: {error!r}")
            return None
        if response.status_code != status:
            said = f"{response.status_code} {response.text[:300]}"
            self.counts.wrong("failed requests", f"{method} {path}: {said}")
            return None
        return response.json() if response.content else {}

    async def _stream(self, path: str, body: dict[str, Any]) -> list[Any]:
        self.counts.of["requests"] += 1
        try:
            async with self.http.stream("POST", path, json=body) as response:
                return [
                    json.loads(line[5:])
                    async for line in response.aiter_lines()
                    if line.startswith("data:")
                ]
        except (httpx2.HTTPError, ValueError) as error:
            return [{"type": repr(error)}]
