"""What is searched, round after round, by several clients at once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tests.soak.every_match.searching import SHARES, K, Searcher
from tests.soak.every_match.shelves import Library, Shelf

QUESTIONS = 8  # a round, of each size class and filter, for the ten nearest
EVERYTHING = 2  # of those, by all sources, without and with a filter
Step = Callable[[Searcher], Awaitable[None]]


class Rounds:
    """Searches of every size class, with every filter, by vector, by keyword and by all sources."""

    def __init__(
        self, library: Library, searchers: Sequence[Searcher], chance: random.Random
    ) -> None:
        self._library = library
        self._searchers = searchers
        self._chance = chance

    async def for_seconds(self, phase: str, seconds: float, *, keywords: bool = True) -> None:
        """As many rounds as begin in this time, at least one."""
        until = time.monotonic() + seconds
        while True:
            await self.once(phase, keywords=keywords)
            if time.monotonic() >= until:
                return

    async def until(self, phase: str, over: asyncio.Event) -> None:
        """Without keywords: how many chunks hold one is not known while some are deleted."""
        while not over.is_set():
            await self.once(phase, keywords=False)

    async def once(self, phase: str, *, keywords: bool) -> None:
        steps = [
            step
            for size_class, shelves in self._library.classes.items()
            for step in self._steps(phase, size_class, shelves, keywords=keywords)
        ]
        self._chance.shuffle(steps)
        waiting = iter(steps)

        async def client(searcher: Searcher) -> None:
            for step in waiting:
                await step(searcher)

        async with asyncio.TaskGroup() as group:
            for searcher in self._searchers:
                group.create_task(client(searcher))

    def _steps(
        self, phase: str, size_class: str, shelves: Sequence[Shelf], *, keywords: bool
    ) -> list[Step]:
        steps: list[Step] = []
        group = (phase, size_class)
        for key in SHARES:
            for _ in range(QUESTIONS):
                shelf = self._chance.choice(shelves)
                steps.append(partial(_by_vector, shelf=shelf, k=K, key=key, group=group))
            shelf = self._chance.choice(shelves)
            for k in (1, 10 * K, shelf.size // 2, shelf.size + 7):
                steps.append(partial(_by_vector, shelf=shelf, k=k, key=key, group=group))
                if keywords:
                    steps.append(partial(_by_keyword, shelf=shelf, k=k, key=key))
            for _ in range(EVERYTHING):
                shelf = self._chance.choice(shelves)
                steps.append(partial(_by_everything, shelf=shelf, key=key))
            steps.append(partial(self._as_another, shelf=shelf))
        return steps

    async def _as_another(self, searcher: Searcher, *, shelf: Shelf) -> None:
        others = [each.scope for each in self._library.shelves if each.scope != shelf.scope]
        if others:
            await searcher.as_another(shelf, self._chance.choice(others))


async def _by_vector(
    searcher: Searcher, *, shelf: Shelf, k: int, key: str, group: tuple[str, str]
) -> None:
    await searcher.by_vector(shelf, k, key, group)


async def _by_keyword(searcher: Searcher, *, shelf: Shelf, k: int, key: str) -> None:
    await searcher.by_keyword(shelf, k, key)


async def _by_everything(searcher: Searcher, *, shelf: Shelf, key: str) -> None:
    await searcher.by_everything(shelf, key)
