"""Which sentences answer a question: idf-weighted overlap of stems, and what surrounds it.

Pure, and small enough to run for every question: a passage costs some tenths of a millisecond.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.chat.model import Passage
from app.providers.sentences import Sentence, split_sentences
from app.providers.words import terms, tokens

# Weights, tuned on XQuAD's English and Spanish questions with the right passage among eight.
NAMED = 0.7  # a term of the question in the title or the heading
NEIGHBOUR = 0.35  # or in the sentence before
PROPER = 2.0  # how much more a name tells what a passage is about than another word as rare
NAMELESS = 0.2  # what a passage loses that has none of the names that other passages have
PAIR = 0.6  # two terms of the question side by side, in either order
PASSAGE = 0.7  # share of the question that the whole passage covers
SIMILARITY = 0.5
RANK = 0.15  # for the first passage, a half for the second, …
EXPECTED = 0.12  # a figure where the question asks for one, a name where it asks who
LONG_CHARS = 320  # above this a sentence loses by its length

# How much coverage + similarity of one passage counts as an answer. Calibrated on XQuAD with the
# best eight of hybrid retrieval: nine in ten questions about other articles stay below. The
# encoder is English: its cosines between Spanish texts are high whatever they say.
ENOUGH = {"en": 0.79}
ENOUGH_ELSEWHERE = 0.93
# The question in the first language, the passage in another.
ENOUGH_ACROSS = {"en": 0.48}
ENOUGH_ACROSS_ELSEWHERE = 0.4
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
# A capital that no sentence begins with.
_PROPER = re.compile(r"(?<=[^\s.!?¿¡] )[«“\"'(]?[A-ZÁÉÍÓÚÑ][\w+#-]*")
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
    """The question's stems with their weights, which of them are names, its neighbouring pairs,
    and what it expects."""

    weights: dict[str, float]
    names: frozenset[str]
    pairs: frozenset[frozenset[str]]
    figure: bool
    name: bool

    @property
    def total(self) -> float:
        return sum(self.weights.values()) or 1.0

    def share_in(self, bag: frozenset[str]) -> float:
        """How much of the question a passage covers; its names tell most what it is about."""
        weights = {
            term: weight * (PROPER if term in self.names else 1.0)
            for term, weight in self.weights.items()
        }
        return sum(weights[term] for term in bag & weights.keys()) / (sum(weights.values()) or 1.0)


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
    coverages = [query.share_in(bag) for bag in bags]
    known = query.names & frozenset().union(*bags)
    candidates: list[Candidate] = []
    for place, ((passage, sentences), bag) in enumerate(zip(split, bags, strict=True)):
        base = PASSAGE * coverages[place] + RANK / (1 + place)
        base += SIMILARITY * (passage.similarity or 0.0)
        if known and not known & bag:
            base -= NAMELESS
        found = [stems[id(each)] for each in sentences]
        candidates += weigh(query, passage, titles[passage.number], sentences, found, base)
    candidates.sort(key=lambda each: -each.score)
    evidence = [
        evidence_of(passage, coverage, language)
        for passage, coverage in zip(passages, coverages, strict=True)
    ]
    return Ranking(candidates, max(evidence, default=0.0))


def weigh(
    query: Query,
    passage: Passage,
    title: Sequence[str],
    sentences: Sequence[Sentence],
    stems: Sequence[Sequence[str]],
    base: float,
) -> Iterator[Candidate]:
    """A passage's sentences, each with its own strength above what the passage has."""
    previous: frozenset[str] = frozenset()
    for sentence, found in zip(sentences, stems, strict=True):
        own = frozenset(found)
        covers = own & query.weights.keys()
        named = frozenset(title).union(terms(sentence.heading))
        told = found
        if covers and _LABEL.match(sentence.text):
            told, named = [*title, *found], named.union(stems[0])
        if not MARKER.search(sentence.text):
            score = base + strength(query, sentence, told, named, previous)
            yield Candidate(passage, sentence, score, covers, own, frozenset(title))
        previous = own


def evidence_of(passage: Passage, coverage: float, language: str) -> float:
    """How much speaks for a passage being about the question; 1 is enough to answer from."""
    if passage.similarity is None:
        return coverage / ENOUGH_COVERAGE
    if passage.language != language:
        enough = ENOUGH_ACROSS.get(language, ENOUGH_ACROSS_ELSEWHERE)
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
        names=frozenset(terms(" ".join(_PROPER.findall(question)))),
        pairs=frozenset(map(frozenset, pairwise(asked))),
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
    for pair in query.pairs & frozenset(map(frozenset, pairwise(found))):
        score += PAIR * min(query.weights[term] for term in pair)
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
