"""What a row of the soak is: a promise, a scenario that measures it, and the limits it must keep.

A module of `tests.soak.rows` declares one as `ROW`; that is all it takes to add one.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.soak.starting import Start, started

# A figure's name and value, as soon as it is known.
Figures = AsyncIterator[tuple[str, float]]
Verdict = Literal["kept", "BROKEN"]


@dataclass(frozen=True, slots=True)
class Limit:
    """The least or the most that a figure may be."""

    bound: float
    least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:,g}"

    def allows(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound


def at_most(bound: float) -> Limit:
    return Limit(bound)


def at_least(bound: float) -> Limit:
    return Limit(bound, least=True)


@dataclass(slots=True)
class Stage:
    """What a scenario is given: how long to go on, a folder that the servers can reach and that is
    its own, chance that `--seed` repeats, `say` for progress, and what starts processes."""

    seconds: float
    folder: Path
    chance: random.Random
    say: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    start: Start = started

    def note(self, sentence: str) -> None:
        """Something that belongs below the table: a reason, an example of what went wrong."""
        self.notes.append(sentence)


@dataclass(frozen=True, slots=True)
class Row:
    """`measure` yields each figure once. Those with a limit decide, the others inform; a limit
    without its figure is broken, and so is a scenario that raises. `headline` are those figures
    that say it in a line."""

    number: int
    promise: str
    limits: Mapping[str, Limit]
    headline: Sequence[str]
    measure: Callable[[Stage], Figures]
    seconds: float = 240.0  # where `--seconds` says nothing


@dataclass(slots=True)
class Result:
    """What a scenario came to."""

    row: Row
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0

    def verdict(self, figure: str) -> Verdict | None:
        """Of one figure; None where it has no limit."""
        if figure not in self.row.limits:
            return None
        value = self.figures.get(figure)
        return "BROKEN" if value is None or not self.row.limits[figure].allows(value) else "kept"

    @property
    def kept(self) -> bool:
        return self.error is None and all(self.verdict(each) == "kept" for each in self.row.limits)
