"""Pieces that Redis loses, and what readers on the other replica are told of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from tests.soak.resuming.answers import Answers
from tests.soak.visits import Visit

HOW = ("XDEL of one", "XDEL of the first", "XDEL of the last", "XTRIM", "DEL")
WHEN = ("while it goes on", "when it is over", "while it is read")
# What is gone does not come: nobody may wait for it longer than for an owner that is dead.
PATIENCE_SECONDS = 10.0

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Losses:
    """Counts what came of each."""

    def __init__(
        self,
        answers: Answers,
        redis: Redis,
        chance: random.Random,
        note: Callable[[str], None],
    ) -> None:
        self._answers = answers
        self._redis = redis
        self._chance = chance
        self._note = note
        self.of: Counter[str] = Counter()

    async def lose(self, home: int, how: str, when: str) -> None:
        """Take something of a run away before, or while, it is read on the other replica."""
        async with self._answers.making(home) as making:
            await making.first.until(self._chance.randint(4, 12))
            if when == "when it is over":
                await making.first.to_end()
            key = await self._key(making.run_id, ended=when == "when it is over")
            after = self._chance.randint(0, len(making.first.frames) - 1)
            reader = self._answers.following(1 - home, making.run_id, after)
            if when == "while it is read":
                async with reader:
                    await reader.until(1)
                    lost = await self._take(key, how)
                    in_time = await reader.for_seconds(PATIENCE_SECONDS)
            else:
                lost = await self._take(key, how)
                async with reader:
                    in_time = await reader.for_seconds(PATIENCE_SECONDS)
            whole = await self._answers.followed(home, making.run_id)
        self.of["readers of a run that lost a piece"] += 1
        self._judge(f"{how} {when}", after, lost, when, reader, whole, in_time)

    async def _key(self, run_id: str, *, ended: bool) -> bytes:
        """The run's stream, once it has something, or all of it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                keys = [each async for each in self._redis.scan_iter(f"run:*{run_id}", count=1000)]
                if keys:
                    entries = await self._entries(keys[0])
                    if entries and (not ended or entries[-1][1][b"end"] == b"1"):
                        return bytes(keys[0])
                await asyncio.sleep(0.01)

    async def _entries(self, key: bytes) -> Entries:
        found: Any = await self._redis.xrange(key)
        return list(found)

    async def _take(self, key: bytes, how: str) -> set[int]:
        """Take a piece away; the numbers of the events that were in it. Looking and taking are one
        transaction: what is written in between would be gone, too, and nobody would know."""
        async with self._redis.pipeline(transaction=True) as taking:
            taking.xrange(key)
            if how == "DEL":
                taking.delete(key)
            elif how == "XTRIM":
                taking.xtrim(key, maxlen=1, approximate=False)
            entries: Entries = (await taking.execute())[0]
        which = {
            "XDEL of one": [self._chance.choice(entries)],
            "XDEL of the first": entries[:1],
            "XDEL of the last": entries[-1:],
            "XTRIM": entries[:-1],
            "DEL": entries,
        }[how]
        if how.startswith("XDEL"):
            await self._redis.xdel(key, which[0][0])
        return {number for _, fields in which for number in _numbers(fields)}

    def _judge(
        self,
        what: str,
        after: int,
        lost: set[int],
        when: str,
        reader: Visit,
        whole: Visit,
        in_time: bool,
    ) -> None:
        """Everything as it was (an entry may have been written twice), or as much of it and then
        an error that says so. Where all is gone, the stored answer is as good from its start."""
        due = whole.frames[after:]
        told = reader.frames
        prefix = told[:-1] == due[: len(told) - 1]
        failed = bool(told) and reader.events[-1]["type"] == "error" and prefix
        exact = told == due or (after == 0 and _stored(reader, whole))
        missing = when == "while it is read" or any(number > after for number in lost)
        self.of["of which were told so by an error"] += failed
        if not in_time:
            self.of["readers left waiting for what is gone"] += 1
        elif not (failed or exact):
            self.of["readers with a silent gap"] += 1
        elif failed and not missing:
            self.of["readers told of a loss that was none"] += 1
        else:
            return
        last = [each[:80] for each in told[-1:]]
        self._note(
            f"{what}: lost {sorted(lost)} of {len(whole.frames)}; behind {after} there were "
            f"{len(told)} more ({reader.status}), {last}."
        )


def _numbers(fields: dict[bytes, bytes]) -> Sequence[int]:
    """The numbers of an entry's events."""
    last = int(fields[b"last"])
    return range(last - fields[b"frames"].count(b"\n\n") + 1, last + 1)


def _stored(reader: Visit, whole: Visit) -> bool:
    """Whether it is the same answer, cut into tokens in another way."""
    if not (reader.events and reader.events[-1]["type"] == "done"):
        return False
    return (reader.text, reader.events[0]) == (whole.text, whole.events[0])
