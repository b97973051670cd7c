"""Many streams that are all open at one moment, and end at different ones after it."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak.deployment import Deployment
from tests.soak.provider import words_of
from tests.soak.readers import Reader, read
from tests.soak.row import Stage

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """Streams are asked for within `opening` seconds; each of them ends at some moment between
    `first` and `last` seconds after that. A word takes `word` seconds."""

    streams: int
    opening: float
    first: float
    last: float
    word: float = 0.25


@dataclass(frozen=True, slots=True)
class Asked:
    question: str
    answer: str
    reader: Reader


def reply(body: dict[str, Any]) -> Sequence[str]:
    """As many words as the question says at its end, else one."""
    number = body["messages"][-1]["content"].rpartition(" in ")[2].removesuffix(" words?")
    words = words_of(body)
    count = int(number) if number.isdigit() else 1
    return [words[place % len(words)] for place in range(count)]


def whole(question: str) -> str:
    """The answer to it, all of it."""
    return "".join(reply({"messages": [{"content": question}]}))


async def open_all(
    running: Deployment, urls: Sequence[str], agent: int, name: str, pace: Pace
) -> list[Asked]:
    """Ask at these addresses in turn; returns when the last is asked and all have begun."""
    chance = running.stage.chance
    began = time.monotonic()
    asked: list[Asked] = []
    for number in range(pace.streams):
        due = began + number * pace.opening / pace.streams
        await asyncio.sleep(due - time.monotonic())
        left = began + pace.opening - time.monotonic()
        seconds = max(0.0, left) + chance.uniform(pace.first, pace.last)
        words = 1 + round(seconds / pace.word)
        question = f"Who finished Atlas, of {name} the {number}th, in {words} words?"
        reader = await read(urls[number % len(urls)], agent, question)
        asked.append(Asked(question, whole(question), reader))
    await asyncio.gather(*(each.reader.begun for each in asked))
    return asked


def open_now(asked: Sequence[Asked]) -> int:
    """How many have begun and are not over."""
    return sum(each.reader.begun.done() and not each.reader.over.done() for each in asked)


async def until_over(asked: Sequence[Asked], seconds: float) -> int:
    """Wait until all are over, no longer than that; how many are not."""
    overs = [each.reader.over for each in asked]
    _, pending = await asyncio.wait(overs, timeout=seconds)
    for each in asked:
        if not each.reader.over.done():
            each.reader.transport.abort()
    return len(pending)


@dataclass(slots=True)
class Ends:
    """How streams ended: whole with `done`, with an `error` by its code, or without either."""

    done: int = 0
    told: int = 0
    silent: int = 0
    wrong: int = 0  # a `done` behind something else than the answer
    codes: Counter[str] = field(default_factory=Counter)

    def count(self, stage: Stage, asked: Sequence[Asked]) -> None:
        for each in asked:
            ended = each.reader.ended
            if ended == "done":
                self.done += 1
                self.wrong += each.reader.text != each.answer
            elif ended is not None:
                self.told += 1
                self.codes[ended] += 1
            else:
                self.silent += 1
                if self.silent <= EXAMPLES:
                    stage.note(
                        f"Ended in silence: {each.question} {bytes(each.reader.raw[-99:])!r}"
                    )

    @property
    def by_code(self) -> str:
        return ", ".join(f"{code} {count}" for code, count in sorted(self.codes.items()))
