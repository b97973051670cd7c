"""What a question's words say about its complexity: one table a language.

A pattern is a regular expression over folded words (lower case, no accents, no punctuation, one
space between). It matches whole words; `^` in front ties it to the start of a sentence. Unbounded
repetition is allowed over letters only (`\\w+`), so that a search stays linear.
"""

from collections.abc import Mapping
from dataclasses import dataclass


def listed(words: str) -> frozenset[str]:
    """The words of a text, for lists that are read and edited as one."""
    return frozenset(words.split())


@dataclass(frozen=True, slots=True)
class Patterns:
    """One language's table. Longer alternatives come first in `small_talk` and `lead_ins`."""

    small_talk: tuple[str, ...]
    """Greetings, thanks, goodbyes, acknowledgements: a message of nothing else is TRIVIAL, and
    in front of a question they are skipped."""
    alone: tuple[str, ...]
    """Small talk only where the sentence has nothing else: "cool", "how are you"."""
    lead_ins: tuple[str, ...]
    """Politeness between the greeting and the question."""
    everything: tuple[str, ...]
    """COMPREHENSIVE."""
    analysis: tuple[str, ...]
    """COMPLEX."""
    broad: tuple[str, ...]
    """MEDIUM."""
    fact: tuple[str, ...]
    """SIMPLE, in a short question."""
    constraint: tuple[str, ...]
    """A word that narrows the question; several of them make it COMPLEX."""
    typos: Mapping[str, str]
    """Short misspellings, by what they mean."""
    corrected: frozenset[str]
    """Long words that are recognised with one letter missing, added, wrong or out of place."""
    not_typos: frozenset[str]
    """Correct words one letter away from those."""
