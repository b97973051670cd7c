"""An agent with two portfolios, what of them must not be told any more, and from when on.

Every text and every prompt holds a word of its own. So an answer says itself which of them it was
made from, wherever it was kept in between.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

SUBJECTS = ("Atlas", "Zephyr", "Orion")
# The same question in words that the guards of the semantic cache let pass.
WORDINGS = (
    "Who holds the key of the {} cabinet?",
    "Please, who holds the key of the {} cabinet?",
    "hello, who holds the key of the {} cabinet?",
    "Do you know who holds the key of the {} cabinet?",
)
WORD = re.compile(r"(?:holder|revision)\d{6}")

_numbers = count(1)


def new_word(kind: str) -> str:
    """One that is nowhere else: a holder of a document's, or a prompt's revision."""
    return f"{kind}{next(_numbers):06d}"


def text_of(subject: str, holder: str) -> str:
    return (
        f"The key of the {subject} cabinet is held by {holder}. Whoever needs to open the "
        f"{subject} cabinet writes to {holder} a day before."
    )


def prompt_of(revision: str) -> str:
    return f"You answer as the rules of {revision} say."


@dataclass(slots=True)
class Shelf:
    """A portfolio: of each subject the document's id and its word, where it has one."""

    portfolio_id: int
    ids: dict[str, int] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Room:
    """`shelf` is the one whose portfolio the agent has. `changes` counts changes that were begun
    and changes that were acknowledged, so that it is odd or rises while there is one."""

    agent: int
    provider: str
    shelves: list[Shelf]
    revision: str
    shelf: int = 0
    changes: int = 0
    under_way: int = 0
    _gone: dict[str, float] = field(default_factory=dict)

    @property
    def here(self) -> Shelf:
        return self.shelves[self.shelf]

    def withdraw(self, words: Iterable[str]) -> None:
        """It has been acknowledged now that these are no more."""
        now = time.monotonic()
        for each in words:
            self._gone[each] = now

    def readmit(self, words: Iterable[str]) -> None:
        """From now on they may be told again."""
        for each in words:
            self._gone.pop(each, None)

    def stale(self, told: str, began: float) -> Sequence[str]:
        """The words in an answer that were gone before it was asked for."""
        return [each for each in words_in(told) if self._gone.get(each, began) < began]

    def acknowledged_between(self, began: float, ended: float) -> bool:
        """Whether something went while an answer was being written."""
        return any(began <= each < ended for each in self._gone.values())


def words_in(text: str) -> Sequence[str]:
    """Each word once, in the order of the text."""
    return list(dict.fromkeys(WORD.findall(text)))
