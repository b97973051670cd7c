"""Documents that come, change and go while others search."""

import asyncio
import random
from collections.abc import Callable, Sequence

import numpy as np

from app.bench.corpus import ENCODER
from app.ingest.ports import IndexedChunk, NewDocument, Span
from app.stores.documents import PgDocuments
from tests.soak.every_match.counts import Counts
from tests.soak.every_match.shelves import FILTERS, Library, Shelf

WRITTEN = "documents written or deleted by writers"
FIRST_NUMBER = 10**7  # beyond those of the documents that are there from the beginning
MOST_AT_ONCE = 20  # of a writer, in each portfolio
# A team that is busy, not a load test: each writer rests for so long between two documents.
PAUSE_SECONDS = 0.05
DELETERS = 4


class Writer:
    """Adds documents of up to five chunks, replaces and deletes its own, as the service does."""

    def __init__(
        self, documents: PgDocuments, shelves: Sequence[Shelf], counts: Counts, number: int
    ) -> None:
        self._documents = documents
        self._shelves = shelves
        self._counts = counts
        self._first = FIRST_NUMBER * (number + 1)
        self._chance = random.Random(number)
        self._source = np.random.default_rng(number)
        self._ids: dict[tuple[int, int], int] = {}

    async def until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._write()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self) -> None:
        shelf = self._chance.choice(self._shelves)
        number = self._first + self._chance.randrange(MOST_AT_ONCE)
        former = self._ids.get((shelf.id, number))
        if former is not None and self._chance.random() < 0.5:
            await self._documents.delete(shelf.scope, self._ids.pop((shelf.id, number)))
        else:
            self._ids[shelf.id, number] = await self._put(shelf, number)
        self._counts.of[WRITTEN] += 1

    async def _put(self, shelf: Shelf, number: int) -> int:
        count = self._chance.randint(1, 5)
        lines = [self._line(shelf) for _ in range(count)]
        metadata = {key: number % modulus for key, modulus in FILTERS.items()}
        document = NewDocument(f"Document {number}", "\n".join(lines), f"{number}.md", metadata)
        [accepted] = await self._documents.accept(shelf.scope, shelf.id, [document])
        assert accepted.upload_id is not None
        [upload] = await self._documents.claim(1, [accepted.upload_id])
        vectors = [
            [float(v) for v in each] for each in shelf.portfolio.questions(self._source, count)
        ]
        await self._documents.index(upload, "en", _chunks(lines), {ENCODER: vectors})
        return accepted.document_id

    def _line(self, shelf: Shelf) -> str:
        """As long as the others, so that the mean of the portfolio's lengths stays."""
        return f"{shelf.name} written {self._chance.getrandbits(60)}" + " prose" * 73


def _chunks(lines: Sequence[str]) -> list[IndexedChunk]:
    chunks, start = [], 0
    for line in lines:
        chunks.append(IndexedChunk(Span(start, start + len(line)), line, tail="\n"))
        start += len(line) + 1
    return chunks


async def delete_some(
    documents: PgDocuments,
    library: Library,
    share: float,
    chance: random.Random,
    say: Callable[[str], None],
) -> int:
    """Delete this share of every portfolio's documents, by chance, as the service does; how
    many."""
    doomed = [
        (shelf, number)
        for shelf in library.shelves
        for number in chance.sample(sorted(shelf.alive), round(share * len(shelf.alive)))
    ]
    chance.shuffle(doomed)
    waiting = iter(enumerate(doomed))

    async def work() -> None:
        for done, (shelf, number) in waiting:
            if done % max(1, len(doomed) // 10) == 0:
                say(f"Deleted {done:,} of {len(doomed):,} documents")
            shelf.alive.discard(number)
            await documents.delete(shelf.scope, shelf.documents[number])

    async with asyncio.TaskGroup() as group:
        for _ in range(DELETERS):
            group.create_task(work())
    return len(doomed)
