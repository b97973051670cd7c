"""Which sentences answer a question: idf-weighted overlap of stems, and what surrounds it.

Pure, and small enough to run for every question: a passage costs some tenths of a millisecond.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.chat.model import Passage
from app.providers.sentences import Sentence, split_sentences
from app.providers.words import terms, tokens

# Weights, tuned on XQuAD's English and Spanish questions with the right passage among eight.
NAMED = 0.7  # a term of the question in the title or the heading
NEIGHBOUR = 0.35  # or in the sentence before
PAIR = 0.6  # two terms of the question side by side, in its order
PASSAGE = 0.7  # share of the question that the whole passage covers
SIMILARITY = 0.5
RANK = 0.15  # for the first passage, a half for the second, …
EXPECTED = 0.12  # a figure where the question asks for one, a name where it asks who
LONG_CHARS = 320  # above this a sentence loses by its length

# How much coverage + similarity of one passage counts as an answer. Calibrated on XQuAD with the
# best eight of hybrid retrieval: nine in ten questions about other articles stay below. The
# encoder is English: its cosines between Spanish texts are high whatever they say.
ENOUGH = {"en": 0.77}
ENOUGH_ELSEWHERE = 0.93
ENOUGH_ACROSS = 0.45  # the question in one language, the passage in another
ENOUGH_COVERAGE = 0.42  # where no cosine is known

MARKER = re.compile(r"\[\s*\^?\d")
_FIGURE_QUESTION = frozenset(
    {
        *("when", "year", "date", "percentage", "number", "cuantos", "cuantas", "cuanto"),
        *("cuanta", "cuando", "ano", "fecha", "porcentaje", "numero"),
    }
)
# "How long" asks for a figure; its adjective is in no answer.
_HOW = re.compile(
    r"\bhow\s+(?:many|much|long|old|far|fast|quickly|soon|often|tall|high|big|large|deep|wide"
    r"|heavy|early|late)\b",
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
    r"|forty|fifty|hundred|thousand|million|billion|half|twice|dozens?"
    r"|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|quince|veinte|treinta|cuarenta"
    r"|cincuenta|cien|ciento|mil|millón|millones|mitad|docena)\b",
    re.IGNORECASE,
)
_NAME_QUESTION = frozenset(
    ("who", "whom", "whose", "where", "which", "quien", "quienes", "donde", "cual", "cuales")
)
# "Technologies: …" has its subject elsewhere: in the title, and where its text begins.
_LABEL = re.compile(r"[*_]*(?:[^\W\d_][\w'’/-]*\s){0,2}[^\W\d_][\w'’/-]*[*_]*:[*_]*\s")
_NAME = re.compile(r"(?<=[^.!?\s] )[«“\"'(]?[A-ZÁÉÍÓÚÑ][^\W\d_]+")


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A sentence with its passage, its score, and which of the question's terms it holds.

    Compared by identity: a passage's mappings cannot be hashed.
    """

    passage: Passage
    sentence: Sentence
    score: float
    covers: frozenset[str]
    stems: frozenset[str]
    title_stems: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first. `answers` is False where no passage is about the question;
    `evidence` is the best passage's share of what would be enough."""

    candidates: Sequence[Candidate]
    evidence: float

    @property
    def answers(self) -> bool:
        return bool(self.candidates) and self.evidence >= 1


@dataclass(frozen=True, slots=True)
class Query:
    """The question's stems with their weights, its neighbouring pairs, and what it expects."""

    weights: dict[str, float]
    pairs: frozenset[tuple[str, str]]
    figure: bool
    name: bool

    @property
    def total(self) -> float:
        return sum(self.weights.values()) or 1.0


def rank(question: str, language: str, passages: Sequence[Passage]) -> Ranking:
    """Score every sentence of the passages against the question."""
    split = [(passage, split_sentences(passage.text)) for passage in passages]
    stems = {id(sentence): terms(sentence.text) for _, sentences in split for sentence in sentences}
    titles = {passage.number: terms(passage.title) for passage in passages}
    bags = [
        frozenset(titles[passage.number]).union(
            *(stems[id(each)] for each in sentences),
            *(terms(heading) for heading in {each.heading for each in sentences}),
        )
        for passage, sentences in split
    ]
    query = read(question, bags)
    candidates: list[Candidate] = []
    coverages = [
        sum(query.weights[term] for term in bag & query.weights.keys()) / query.total
        for bag in bags
    ]
    for place, ((passage, sentences), coverage) in enumerate(zip(split, coverages, strict=True)):
        title = titles[passage.number]
        subject = frozenset(stems[id(sentences[0])]) if sentences else frozenset()
        before: frozenset[str] = frozenset()
        base = PASSAGE * coverage + RANK / (1 + place) + SIMILARITY * (passage.similarity or 0.0)
        for sentence in sentences:
            found = stems[id(sentence)]
            named = frozenset(title).union(terms(sentence.heading))
            own = frozenset(found) & query.weights.keys()
            previous, before = before, frozenset(found)
            if _LABEL.match(sentence.text):
                found, named = [*title, *found], named | subject
            if not MARKER.search(sentence.text):
                score = base + strength(query, sentence, found, named, previous)
                candidates.append(
                    Candidate(passage, sentence, score, own, before, frozenset(title))
                )
    candidates.sort(key=lambda each: -each.score)
    evidence = [
        evidence_of(passage, coverage, language)
        for passage, coverage in zip(passages, coverages, strict=True)
    ]
    return Ranking(candidates, max(evidence, default=0.0))


def evidence_of(passage: Passage, coverage: float, language: str) -> float:
    """How much speaks for a passage being about the question; 1 is enough to answer from."""
    if passage.similarity is None:
        return coverage / ENOUGH_COVERAGE
    if passage.language != language:
        enough = ENOUGH_ACROSS
    else:
        enough = ENOUGH.get(language, ENOUGH_ELSEWHERE)
    return (coverage + passage.similarity) / enough


def read(question: str, bags: Sequence[frozenset[str]]) -> Query:
    """The question as weights: rare among the passages is heavy, in none of them heaviest."""
    asked = terms(_HOW.sub(" ", question))
    counts = Counter(term for bag in bags for term in bag)
    weights = {
        term: math.log(1 + (len(bags) - counts[term] + 0.5) / (counts[term] + 0.5)) + 0.3
        for term in asked
    }
    words = frozenset(tokens(question))
    return Query(
        weights=weights,
        pairs=frozenset(pairwise(asked)),
        figure=bool(words & _FIGURE_QUESTION or _HOW.search(question)),
        name=bool(words & _NAME_QUESTION),
    )


def strength(
    query: Query,
    sentence: Sentence,
    found: Sequence[str],
    named: frozenset[str],
    previous: frozenset[str],
) -> float:
    """What a sentence itself says for its being the answer, before its passage is weighed."""
    score = 0.0
    for term, weight in query.weights.items():
        if term in found:
            score += weight
        elif term in named:
            score += NAMED * weight
        elif term in previous:
            score += NEIGHBOUR * weight
    for left, right in query.pairs & frozenset(pairwise(found)):
        score += PAIR * min(query.weights[left], query.weights[right])
    score /= query.total
    if query.figure and _FIGURE.search(sentence.text):
        score += EXPECTED
    if query.name and _NAME.search(sentence.text):
        score += EXPECTED
    return score / math.sqrt(max(1.0, len(sentence.text) / LONG_CHARS))


def choose(candidates: Iterable[Candidate], count: int, *, floor: float = 0.5) -> list[Candidate]:
    """The best `count` candidates that say different things; what scores below `floor` times
    the best only pads an answer and is left out."""
    chosen: list[Candidate] = []
    for each in candidates:
        if len(chosen) == count or (chosen and each.score < floor * chosen[0].score):
            break
        if not any(alike(each.stems, other.stems) for other in chosen):
            chosen.append(each)
    return chosen


def alike(left: frozenset[str], right: frozenset[str]) -> bool:
    """True for near-duplicates: four fifths of all their words are common to both."""
    return len(left & right) >= 0.8 * len(left | right)
