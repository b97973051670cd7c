"""How much context and answer a question deserves, from its words alone."""

import re
from collections.abc import Iterator
from functools import lru_cache

from app.chat.language import fold
from app.chat.model import REMEMBERED_MESSAGES, QueryComplexity
from app.chat.patterns.english import ENGLISH
from app.chat.patterns.spanish import SPANISH

__all__ = ["LIMITS", "QueryComplexity", "analyze_query_complexity", "cap", "should_skip_rag"]

LIMITS: dict[QueryComplexity, tuple[int, int]] = {
    QueryComplexity.TRIVIAL: (0, 500),
    QueryComplexity.SIMPLE: (3, 2000),
    QueryComplexity.MEDIUM: (8, 3000),
    QueryComplexity.COMPLEX: (10, 4500),
    QueryComplexity.COMPREHENSIVE: (15, 6000),
}
"""Each level's passages and answer tokens, lowest level first."""

# Every table is tried on every question: people mix languages, and no pattern of one language
# means something else in another.
_TABLES = (ENGLISH, SPANISH)
_ORDER = tuple(LIMITS)

# Words without a pattern: so few name one thing; more describe what is looked for.
_NAMES_ONE_THING = 3
# A longer question is rarely about one fact, whatever word it begins with.
_ONE_FACT_WORDS = 12
_SEVERAL_CONSTRAINTS = 3
_LONG_WORDS, _VERY_LONG_WORDS = 60, 150

_SENTENCE_END = re.compile(r"(?<![.!?…;\n])[.!?…;\n]++(?=\s|\Z)|\n+|[¿¡]")
_APOSTROPHES = dict.fromkeys(map(ord, "'’´`"))
_NO_WORD = re.compile(r"[\W_]+")


@lru_cache(REMEMBERED_MESSAGES)
def analyze_query_complexity(message: str) -> tuple[QueryComplexity, int, int]:
    """The question's level with that level's top_k and max_tokens. Linear in the length."""
    level = _level(list(_sentences(message)), _questions(message))
    return level, *LIMITS[level]


def should_skip_rag(complexity: QueryComplexity) -> bool:
    """True where no passage could improve the answer: greetings, thanks, goodbyes."""
    return complexity is QueryComplexity.TRIVIAL


def cap(complexity: QueryComplexity, agent_top_k: int, agent_max_tokens: int) -> tuple[int, int]:
    """What the level leaves of the agent's own ceilings; it never raises them."""
    top_k, max_tokens = LIMITS[complexity]
    return min(top_k, agent_top_k), min(max_tokens, agent_max_tokens)


def _level(sentences: list[str], questions: int) -> QueryComplexity:
    """Of sentences as patterns see them, small talk left out."""
    if not sentences:
        return QueryComplexity.TRIVIAL
    text = "|".join(sentences)
    words = text.count(" ") - len(sentences)
    if _EVERYTHING.search(text):
        return QueryComplexity.COMPREHENSIVE
    if _ANALYSIS.search(text) or words > _VERY_LONG_WORDS:
        return QueryComplexity.COMPLEX
    rank = _ORDER.index(_plain_level(text, words))
    if questions > 1:
        rank += 1
    elif sum(1 for _ in _CONSTRAINT.finditer(text)) >= _SEVERAL_CONSTRAINTS:
        rank = _ORDER.index(QueryComplexity.COMPLEX)
    return _ORDER[rank]


def _plain_level(text: str, words: int) -> QueryComplexity:
    if _BROAD.search(text) or words > _LONG_WORDS:
        return QueryComplexity.MEDIUM
    if words <= _NAMES_ONE_THING or (words <= _ONE_FACT_WORDS and _FACT.search(text)):
        return QueryComplexity.SIMPLE
    return QueryComplexity.MEDIUM


def _questions(message: str) -> int:
    """How many of the message's sentences ask something that is not small talk."""
    asked = message.split("?")
    return sum(1 for part in asked[:-1] if any(_sentences(part)))


def _sentences(message: str) -> Iterator[str]:
    """The sentences in folded words, each between two spaces, without greetings and politeness;
    those that were nothing else are left out."""
    for sentence in _SENTENCE_END.split(message):
        folded = _NO_WORD.sub(" ", fold(sentence).translate(_APOSTROPHES)).split()
        if folded:
            words = f" {' '.join(map(_correct, folded))} "
            if not _SMALL_TALK.fullmatch(words):
                yield _OPENING.sub("", words, count=1)


def _correct(word: str) -> str:
    """The word that a common misspelling stands for, or the word itself."""
    if word in _TYPOS:
        return _TYPOS[word]
    if not _SHORTEST <= len(word) <= _LONGEST or word in _KNOWN:
        return word
    for place in range(-1, len(word)):  # -1: nothing left out
        shorter = word[:place] + word[place + 1 :] if place >= 0 else word
        meant = _ONE_LETTER_SHORT.get(shorter)
        if meant and meant[0] == word[0]:
            return meant
    return word


def _compiled(fragments: list[str]) -> re.Pattern[str]:
    """Whole words anywhere, or after `^` at the start of a sentence."""
    parts = (
        rf"(?:^|\|) {part[1:]}(?= )" if part.startswith("^") else rf" {part}(?= )"
        for part in fragments
    )
    return re.compile("|".join(parts))


def _phrases(fragments: list[str]) -> str:
    # Atomic and possessive: a phrase once taken is not taken apart again, so this cannot backtrack.
    return rf"(?> (?:{'|'.join(fragments)})(?= ))*+"


_small_talk = [part for table in _TABLES for part in table.small_talk]
_alone = [part for table in _TABLES for part in table.alone]
_lead_ins = [part for table in _TABLES for part in table.lead_ins]
_SMALL_TALK = re.compile(_phrases(_small_talk + _alone) + " ")
_OPENING = re.compile(r"\A" + _phrases(_small_talk + _lead_ins))
_EVERYTHING = _compiled([part for table in _TABLES for part in table.everything])
_ANALYSIS = _compiled([part for table in _TABLES for part in table.analysis])
_BROAD = _compiled([part for table in _TABLES for part in table.broad])
_FACT = _compiled([part for table in _TABLES for part in table.fact])
_CONSTRAINT = _compiled([part for table in _TABLES for part in table.constraint])

_TYPOS = {typo: word for table in _TABLES for typo, word in table.typos.items()}
_CORRECTED = frozenset().union(*(table.corrected for table in _TABLES))
_KNOWN = _CORRECTED.union(*(table.not_typos for table in _TABLES))
_SHORTEST, _LONGEST = 6, max(map(len, _CORRECTED)) + 1
_ONE_LETTER_SHORT = {
    word[:place] + word[place + 1 :]: word for word in _CORRECTED for place in range(len(word))
} | {word: word for word in _CORRECTED}
