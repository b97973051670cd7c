"""The form in which a name in a document and the same name in a question are equal."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Longer names are sentences, and longer words are not names.
MAX_NAME_WORDS = 4
MAX_NAME_CHARS = 60

# What a word goes on with; "é" may be written as two characters, of which the second is no \w.
LETTERS = r"[\w\u0300-\u036f]"
# "Next.js", "Marsh-Pell", "TCP/IP", "C++", "snake_case", "3.12" are a word each.
INNER = rf"(?:[-.'’&/+#]{LETTERS}+)*[+#]*"
WORD = re.compile(rf"\w{LETTERS}*{INNER}")
_POSSESSIVE = re.compile(r"['’]s?$")


def words(text: str) -> Iterator[str]:
    """The words of a text, folded: without case, accents and possessive."""
    for match in WORD.finditer(text):
        if match.end() - match.start() <= MAX_NAME_CHARS:
            yield folded(match[0])


@lru_cache(maxsize=4096)
def folded(word: str) -> str:
    """One word without case, accents and possessive; "ß" and other letters as casefold has them."""
    bare = _POSSESSIVE.sub("", word.casefold())
    if bare.isascii():
        return bare
    letters = unicodedata.normalize("NFKD", bare)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def name_key(name: str) -> str:
    """The key of a name, "" where it has none: no word, or too many."""
    parts = list(words(name))
    key = " ".join(parts)
    return key if len(parts) <= MAX_NAME_WORDS and len(key) <= MAX_NAME_CHARS else ""
