"""Whether two questions that mean nearly the same ask the same: guards around the semantic cache.

Encoders put "this year" and "next year", "with" and "without", "A beats B" and "B beats A" closer
together than most paraphrases. So nearness only proposes a match, and every guard here may decline
it. A declined match costs one answer; a false one is a wrong answer. Pure.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.chat.patterns.asking import ANY, TABLES, Asking

# A word or code, a minus before a figure, or a sign that may be the whole difference (5 %, 5 €).
_TOKEN = re.compile(
    r"(?<!\w)[-−](?=\d)|[^\W_]+(?:['’.,:/][^\W_]+)*[+#]*|"
    r"[^\s\w.,;:!?¿¡'\"’‘“”()\[\]{}«»…–—-]"
)
_WORDS = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?:^|[.!?:¿¡])[\s\"'“«(]*$")
# They say nothing, and long runs of them make patterns slow.
_RUNS = re.compile(r"[,.!?¿¡]{2,}")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th|º|ª)$")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+$")
_FIGURE = re.compile(r"[\d.,:/]+$|[\d.]+x$|last\.$")
# They are no plurals of the words without their s.
_OF_THEIR_OWN = frozenset({"news", "means", "goods", "customs", "arms", "glasses", "jobs", "gates"})
# Accents are typed or not; ñ is a letter.
_ACCENTS = {0x300, 0x301, 0x302, 0x308, 0x327}


@dataclass(slots=True)
class Read:
    """A question as the guards read it, word by word; each guard looks at one part."""

    names: frozenset[str]
    content: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    verbs: Counter[str] = field(default_factory=Counter)
    negations: list[object] = field(default_factory=list)
    sides: list[object] = field(default_factory=list)
    others: set[str] = field(default_factory=set)


def read(text: str, language: str) -> Read:
    """Take a question apart. The language's table says what its words do; in a language without
    one, every word is content."""
    table = TABLES.get(language, ANY)
    question = Read(_names(text, table))
    waiting: list[tuple[list[object], str]] = []
    for word in _TOKEN.findall(_plain(text, table)):
        figure = _figure(table.numbers.get(word, word))
        kind = _kind(table, word, figure)
        if kind is None:
            if word in table.negations:
                waiting.append((question.negations, "not"))
            elif word in table.sides:
                waiting.append((question.sides, table.sides[word]))
            else:
                _set_aside(question, table, word)
            continue
        told = {"content": question.content, "number": question.numbers, "date": question.dates}
        for listed, name in waiting:
            listed.append((name, kind, len(told[kind])))
        waiting.clear()
        told[kind].append(table.synonyms.get(word, word) if kind == "content" else figure)
        if not word[0].isalnum():
            question.signs.append(word)
    for listed, name in waiting:
        listed.append((name, "end", 0))
    return question


def _kind(table: Asking, word: str, figure: str) -> str | None:
    """Where the word stands for itself: as content, figure or date."""
    if word in table.dates:
        return "date"
    if _FIGURE.match(figure):
        return "number"
    known = (table.fillers, table.asks, table.persons, table.verbs, table.sides, table.negations)
    return None if any(word in each for each in known) else "content"


def _set_aside(question: Read, table: Asking, word: str) -> None:
    """Note a word that says how is asked, not about what."""
    question.others.add(word)
    if word in table.asks:
        question.asks.append(table.asks[word])
    elif word in table.persons:
        question.persons.append(table.persons[word])
    elif word in table.verbs:
        question.verbs[table.verbs[word]] += 1


def _plain(text: str, table: Asking) -> str:
    """The question itself: lower case, contractions written out, politeness taken off."""
    plain = fold(text).strip(" \t\n¿¡?!.") if table is not ANY else text.casefold()
    for short, long in table.expansions:
        plain = short.sub(long, plain)
    plain = " ".join(_RUNS.sub(" ", plain).split())
    asked = table.polite.sub("", plain).strip(" ¿¡?!.,") or plain
    asked = table.how.sub("how to" if "how" in table.asks else "como", asked)
    return table.auxiliary.sub(r"\1", asked)


def _names(text: str, table: Asking) -> frozenset[str]:
    """The words with a capital or a digit, but for the one that every sentence begins with."""
    found = set()
    for match in _WORDS.finditer(text):
        word = match[0]
        first = _SENTENCE.search(text, 0, match.start()) is not None
        inner = any(each.isupper() or each.isdigit() for each in word[1:])
        plain = fold(word) if table is not ANY else word.casefold()
        # "Please, Where …": a word of grammar is a name in capitals only, as US and IT are.
        grammar = len(word) > 1 and _kind(table, plain, plain) is None
        if inner or (word[:1].isupper() and not first and not grammar):
            found.add(plain)
    return frozenset(found) - ({"i"} if "how" in table.asks else set())


def fold(text: str) -> str:
    """Lower case, without the accents that people leave out."""
    lower = text.casefold()
    if lower.isascii():
        return lower
    kept = (c for c in unicodedata.normalize("NFD", lower) if ord(c) not in _ACCENTS)
    return unicodedata.normalize("NFC", "".join(kept))


def _figure(word: str) -> str:
    if ordinal := _ORDINAL.match(word):
        return f"{ordinal[1]}."
    return word.replace(",", "") if _THOUSANDS.match(word) else word


def negation(left: Read, right: Read) -> bool:
    """One says not, without or never, or says it of something else."""
    return left.negations != right.negations


def numbers(left: Read, right: Read) -> bool:
    """Other figures or ordinals, or the same in another order."""
    return left.numbers != right.numbers


def dates(left: Read, right: Read) -> bool:
    """Another month, day or time relative to now."""
    return left.dates != right.dates


def units(left: Read, right: Read) -> bool:
    """Another currency, per cent, minus or comparison sign. Units in words are content."""
    return left.signs != right.signs


def names(left: Read, right: Read) -> bool:
    """Another name; or a word that is a name in one only, and one of grammar else: IT and it."""
    if any((left.names ^ right.names) & (left.others | right.others)):
        return True
    known = left.names | right.names
    differing = set(left.content) ^ set(right.content)
    return bool(differing & known) and not _same_words(left, right)


def asked(left: Read, right: Read) -> bool:
    """The one asks who and the other when, or of whom: me or you."""
    return left.asks != right.asks or left.persons != right.persons


def tense(left: Read, right: Read) -> bool:
    """What is, what was, what somebody has or does."""
    return left.verbs != right.verbs


def direction(left: Read, right: Read) -> bool:
    """The same words in another order or bound otherwise: A beats B, from A to B."""
    same = sorted(left.content) == sorted(right.content)
    return (same and left.content != right.content) or left.sides != right.sides


def content(left: Read, right: Read) -> bool:
    """A word that tells what is asked about stands in one of them only: on and off, cost and
    price, more and less are as near to each other as a question to itself."""
    return not _same_words(left, right)


def _same_words(left: Read, right: Read) -> bool:
    if len(left.content) != len(right.content):
        return False
    coded = left.names | right.names
    return all(
        _same(*pair, plural=not coded.intersection(pair))
        for pair in zip(left.content, right.content, strict=True)
    )


def _same(one: str, other: str, *, plural: bool) -> bool:
    """Equal, or one the regular plural of the other, English or Spanish."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if not plural or len(short) < 3 or long in _OF_THEIR_OWN:
        return False
    endings = (short + "s", short + "es", short[:-1] + "ies", short[:-1] + "ces")
    allowed = (True, True, short.endswith("y"), short.endswith("z"))
    return any(long == each and may for each, may in zip(endings, allowed, strict=True))


GUARDS: Mapping[str, Callable[[Read, Read], bool]] = {
    "negation": negation,
    "numbers": numbers,
    "dates": dates,
    "units": units,
    "names": names,
    "asked": asked,
    "tense": tense,
    "direction": direction,
    "content": content,
}


def declined(left: str, right: str, language: str) -> str | None:
    """The name of the guard that says that these two do not ask the same; None where none does.
    Both are in `language`, an ISO 639-1 code."""
    one, other = read(left, language), read(right, language)
    return next((name for name, differs in GUARDS.items() if differs(one, other)), None)
