"""Which language a text is in: by its function words for English and Spanish, by a model else.

A question has five words, too few for a model of letters but enough for a list of words: two of
them are "what", "the", "qué", "los". Other languages go to py3langid.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Protocol

from app.chat.model import REMEMBERED_MESSAGES
from app.chat.patterns.words import ENGLISH, ISO_639_1, KEYWORDS, OTHER, SHARED, SPANISH

# In both lists, or in use in both languages: no evidence.
_AMBIGUOUS = ENGLISH & SPANISH | {"he", "has", "describe", "lets", "once", "use", "me", "a", "no"}
_ENGLISH = ENGLISH - _AMBIGUOUS
_SPANISH = SPANISH - _AMBIGUOUS | {"describeme"}
_OTHER_ONLY = OTHER - _ENGLISH - _SPANISH
_ENGLISH_ENDING = re.compile(r"(?:ing|tion|tions|ness|ly|ful|ship|ght|ed)$")
_SPANISH_ENDING = re.compile(
    r"(?:cion|ciones|sion|siones|dad|dades|mente|ando|iendo|aron|ieron|aba|aban|ario|arios|aje"
    r"|ajes|ado|ados|ada|adas|ido|idos|miento|mientos|nza|ico|icos|ica|icas)$"
)
# Code says nothing about the language around it.
_FENCE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_CODE = re.compile(r"[_=<>{};/\\@#$*+|]|\w[.:]\w|\w[(\[]")
# Capitals inside a sentence make them part of a name: the Los Angeles Lakers.
_NAME_PARTICLES = frozenset({"Los", "Las", "La", "El", "Del", "De"})
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_MARKS = {"ñ": 0.9, "¿": 1.5, "¡": 1.5}
_FOREIGN_LETTERS = frozenset("ãõçàèìòùâêîôûëïäåøæßœłşğıśźżćńęąěščřžůőűțșăđ")
# The start of a document tells its language as well as the whole of it.
_LOOKED_AT = 4000
# Below this many letters a model of letters guesses; below this probability it is wrong
# (measured: right answers on questions of 20 letters reach 0.9, lists of names stay under 0.3).
_ENOUGH_LETTERS = 20
_PROBABLE = 0.8
# Another script than Latin is evidence enough to ask the model about fewer letters.
_LAST_LATIN = "\u024f"


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


async def recognise(text: str, default: str = "en") -> str:
    """`detect_language` for the event loop: a text that needs the model is given to a thread."""
    code, undecided = _by_words(text, default)
    return await asyncio.to_thread(detect_language, text, default) if undecided else code


def detect_language(text: str, default: str = "en") -> str:
    """The ISO 639-1 code of the text's language; `default` where the text does not tell, as with
    names, numbers and code alone. The first text in a third language loads a model from the
    installed package (0.7 s, 100 MB)."""
    code, undecided = _by_words(text, default)
    if undecided:
        named, probability = _identifier().classify(undecided)
        if named in ISO_639_1 and probability >= _PROBABLE:
            return named
    return code


@lru_cache(REMEMBERED_MESSAGES)
def _by_words(text: str, default: str) -> tuple[str, str]:
    """The code as far as words tell, and what of the text to ask the model about ("" for
    nothing: it would know no better)."""
    text = _FENCE.sub(" ", text[:_LOOKED_AT])
    words = _words(text)
    english = _weigh(words, _ENGLISH, _ENGLISH_ENDING)
    spanish = _weigh(words, _SPANISH, _SPANISH_ENDING)
    spanish += sum(weight for mark, weight in _MARKS.items() if mark in text)
    other = _weigh(words, _OTHER_ONLY) + sum(not _FOREIGN_LETTERS.isdisjoint(w) for w in words)
    likely, code = max((english, "en"), (spanish, "es"))
    if english == spanish:
        likely, code = 0.0, default
    shared = _weigh(words, SHARED)
    if likely - shared > other:
        return code, ""
    letters = "".join(words)
    enough = len(letters) >= _ENOUGH_LETTERS or max(letters, default="") > _LAST_LATIN
    return code if likely > other else default, text if enough else ""


def normalise_language(code: str) -> str | None:
    """The ISO 639-1 part of a language tag, in lower case ("EN-us" is "en"); None if it has none.
    The rest of the tag is not looked at beyond its shape (RFC 5646)."""
    tag = re.fullmatch(r"\s*([A-Za-z]{2})(?:[-_][A-Za-z0-9]{1,8})*\s*", code)
    language = tag[1].lower() if tag else ""
    return language if language in ISO_639_1 else None


def fold(text: str) -> str:
    """Lower case without accents, so that "Cómo" and "como" are one word."""
    lower = text.casefold()
    if lower.isascii():
        return lower
    decomposed = unicodedata.normalize("NFD", lower)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _words(text: str) -> list[str]:
    """The words that may tell a language, in lower case with their accents."""
    words: list[str] = []
    for line in text.splitlines():
        tokens = line.split()
        prose = " ".join(token for token in tokens if not _CODE.search(token))
        has_code = len(prose) < len(" ".join(tokens))
        for place, word in enumerate(_WORD.findall(prose)):
            lower = word.lower()
            if not (has_code and lower in KEYWORDS) and not (place and word in _NAME_PARTICLES):
                words.append(lower)
    return words


def _weigh(
    words: Iterable[str], listed: frozenset[str], ending: re.Pattern[str] | None = None
) -> float:
    weight = 0.0
    for word in words:
        folded = fold(word).replace("'", "").replace("’", "")
        if folded in listed:
            weight += 1.0
        elif ending and len(folded) > 5 and ending.search(folded):
            weight += 0.4
    return weight


@cache
def _identifier() -> _Identifier:
    # Imported here because it brings numpy and its model: most processes never need it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: _Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier
