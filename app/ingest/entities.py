"""The names in a text, by rules alone: no model and no list of names.

A name is what its writer marked as one: capitals inside a sentence ("the Pebble design system",
"Ministerio de Hacienda"), quotation marks, code ("chunk_hits", "CamelCase", "WCAG 2.1"), the
document's title and its headings. A capital at the start of a sentence proves nothing; there a
word counts if the same document has it as a name elsewhere.

The rules need capitals: of scripts without them only marked, quoted and Latin names are found, and
in German, where every noun has one, only names of several words and those unlike a noun.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from app.chat.names import INNER, LETTERS, MAX_NAME_WORDS, folded, name_key
from app.ingest.chunk import heading_paths
from app.ingest.markdown import headings, segments
from app.ingest.ports import Span

# A chunk of 900 characters names about ten things; a table or a directory may name hundreds.
MAX_NAMES_PER_CHUNK = 32
NOUNS_HAVE_CAPITALS = frozenset({"de", "lb"})

# Everything with a capital in Latin, Greek, Cyrillic and Armenian; `re` knows no \p{Lu}.
UPPER = "".join(letter for letter in map(chr, range(0x0590)) if letter.isupper())
CAPITALISED = rf"[{UPPER}]{LETTERS}*{INNER}"
PARTICLES = "de|del|la|las|los|el|of|the|van|von|der|den|da|do|dos|di|du|des"
# More words than a name may have, so that a shouted line is seen to be none; bounded, so that one
# match never holds the interpreter for the whole of a text.
MAX_RUN_WORDS = 16
RUN = re.compile(
    rf"(?<![\w.@/-]){CAPITALISED}"
    rf"(?: (?:(?:{PARTICLES}) ){{0,2}}{CAPITALISED}){{0,{MAX_RUN_WORDS - 1}}}"
)
VERSION = re.compile(r" (?:v\.?)?\d+(?:\.\d+)*(?![\w%])")
QUOTED = re.compile(r"«([^«»\n]{2,60})»|“([^“”\n]{2,60})”|\"([^\"\n]{2,60})\"|`([^`\n]{2,60})`")
CODE = re.compile(rf"(?<![\w.@/-])(?:[a-z0-9]+(?:_[A-Za-z0-9]+)+|[a-z]+[{UPPER}]\w*)(?![\w@])")
# What stands between the last sentence and a name that opens the next one.
OPENING = " \t*_>#-•|\"'“‘«(¿¡[`"
# Capitalised for where they stand, or without being a name of anything; folded.
_COMMON = """
a about after again all also although among an and another any are as at be because before between
both but by can clicking during each either every few first for from further had has have he her
here his how however i if in instead into is it its last later many may more most much my neither
next no nobody nor not nothing now of off on once one only or other our over please she since so
some soon still such than that the their them then there these they this those though three
through thus to today together too two under unless until up was we were what when where whether
which while who whose why will with within without yes yet you your al algo algunas algunos ante
antes aquel aquella aqui asi aun aunque bajo cada casi como con contra cual cuando cuanto de del
desde despues donde dos durante e el ella ellas ellos en entonces entre era es esa ese eso esta
estas este esto estos fue ha hasta hay la las le les lo los luego mas mi mientras muchas muchos
muy nada nadie ni ningun nos nosotros o otra otras otro otros para pero por porque pues que quien
se segun ser si siempre sin sobre son su sus tal tambien tampoco tanto todas todo todos tras tres
tu un una unas uno unos y ya yo january february march april june july august september october
november december monday tuesday wednesday thursday friday saturday sunday au aux avec ce ces
cette dans der des die das du ein eine elle est et il ils im je mais nous ou par pour qui sans sur
und une vous wir zu mit auf nao os um uma uns gli nel
"""
COMMON = frozenset(_COMMON.split())


@dataclass(frozen=True, slots=True)
class Mention:
    """A name at character `start`; `sure` unless only its place may have given it its capital."""

    start: int
    key: str
    sure: bool = True


def entities(title: str, text: str, spans: Sequence[Span], language: str) -> list[list[str]]:
    """For each span the keys of the names in it, most frequent first, each once; the title's and
    those of the headings above count for every span below. Spans are in the text's order."""
    possible = list(found(text, language))
    subjects = title_keys(title, {mention.key for mention in possible})
    mentions = accepted(possible, subjects)
    paths = heading_paths(text, spans)
    keys: list[list[str]] = []
    place = 0
    for span, path in zip(spans, paths, strict=True):
        inside: Counter[str] = Counter()
        while place < len(mentions) and mentions[place].start < span.end:
            inside[mentions[place].key] += 1
            place += 1
        above = [name_key(heading) for heading in path]
        ranked = [*subjects, *filter(None, above), *(key for key, _ in inside.most_common())]
        unlike = (key for key in dict.fromkeys(ranked) if key not in COMMON)
        keys.append(list(islice(unlike, MAX_NAMES_PER_CHUNK)))
    return keys


def title_keys(title: str, named: Set[str]) -> list[str]:
    """What a document is about: its title if that is short, and what the text calls it for short:
    of "Pebble Design System" also "pebble"."""
    keys = [name_key(title)]
    if run := RUN.search(title):
        parts = without_common(run[0].split(" "))
        shorter = (name_key(" ".join(parts[:length])) for length in range(1, len(parts)))
        keys += [key for key in shorter if key in named]
    return [key for key in keys if key]


def found(text: str, language: str) -> Iterator[Mention]:
    """Every possible name, in no particular order."""
    for heading in headings(text):
        if key := name_key(heading.title):
            yield Mention(heading.start, key)
    for start, end in segments(text):
        for match in QUOTED.finditer(text, start, end):
            if key := name_key(match[match.lastindex or 0]):
                yield Mention(match.start(), key)
        for match in CODE.finditer(text, start, end):
            if key := name_key(match[0]):
                yield Mention(match.start(), key)
        for match in RUN.finditer(text, start, end):
            yield from of_run(text, match, language)


def of_run(text: str, run: re.Match[str], language: str) -> Iterator[Mention]:
    """The name that a run of capitalised words is, and once more with the version behind it."""
    parts = run[0].split(" ")
    named = without_common(parts)
    key = name_key(" ".join(named)) if len(parts) <= MAX_NAME_WORDS + 1 else ""
    if not key or (language in NOUNS_HAVE_CAPITALS and len(named) == 1 and is_plain(named[0])):
        return
    opens = named[0] is parts[0] and is_plain(named[0]) and opens_sentence(text, run.start())
    yield Mention(run.start(), key, sure=not opens)
    version = VERSION.match(text, run.end())
    if version and (versioned := name_key(key + version[0])):
        yield Mention(run.start(), versioned)


def accepted(mentions: Sequence[Mention], subjects: Sequence[str]) -> list[Mention]:
    """Those that are sure, or whose name is sure elsewhere in the document, in order. Of several
    words at the start of a sentence the first may be the sentence's: "Yesterday Maren Solvik"."""
    sure = {*subjects, *(mention.key for mention in mentions if mention.sure)}
    kept = []
    for mention in mentions:
        first, _, rest = mention.key.partition(" ")
        if mention.sure or mention.key in sure:
            kept.append(mention)
        elif rest in sure:
            kept.append(Mention(mention.start, rest))
        elif rest and first not in sure:
            kept.append(mention)
    return sorted(kept, key=lambda mention: mention.start)


def without_common(parts: list[str]) -> list[str]:
    """The words of a run without the function words at its ends."""
    while parts and folded(parts[0]) in COMMON:
        parts = parts[1:]
    while parts and folded(parts[-1]) in COMMON:
        parts = parts[:-1]
    return parts


def is_plain(word: str) -> bool:
    """Capitalised at most at its start: nothing but its place may be the reason."""
    return word[1:].islower() or len(word) == 1


def opens_sentence(text: str, start: int) -> bool:
    """Whether a capital is due at `start`, whatever the word."""
    before = text[max(0, start - 8) : start].rstrip(OPENING)
    return not before or before[-1] in ".!?…\n"
