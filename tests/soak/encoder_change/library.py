"""What the portfolio must hold, as far as the service has acknowledged it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.ingest.chunk import split
from app.ingest.prepare import to_encode

CHUNK_CHARS = 1200
PARAGRAPHS = 4  # of a document, each of them a chunk
# Of a paragraph: two of them are longer than a passage may be, so that no two that stand side by
# side are joined into one, which would hide their order.
WORDS = 150
SYLLABLES = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]


@dataclass(frozen=True, slots=True)
class Document:
    """A document with the chunks that it is cut into and what an encoder reads for each."""

    uri: str
    title: str
    text: str
    chunks: Sequence[str]
    encoded: Sequence[str]

    def fields(self) -> dict[str, str]:
        """As it is sent."""
        return {"uri": self.uri, "title": self.title, "text": self.text}


@dataclass(slots=True)
class Entry:
    """What is known of one uri since `tick`; `document` None: it is not there."""

    tick: int
    document: Document | None = None
    changing: bool = False


class Library:
    """Documents by their uri. A question's answer can be judged by what did not change while it
    was asked: `now` before, `state` after."""

    def __init__(self, chance: random.Random) -> None:
        self.now = 0
        self._chance = chance
        self._words = sorted({self._word() for _ in range(3000)})
        self._written = 0
        self._entries: dict[str, Entry] = {}

    def compose(self, uri: str) -> Document:
        """A new text for the document; no two of its paragraphs were ever written before."""
        title = f"Note {uri}"
        text = "\n\n".join(self._paragraph() for _ in range(PARAGRAPHS))
        spans = split(text, CHUNK_CHARS)
        chunks = [text[each.start : each.end] for each in spans]
        return Document(uri, title, text, chunks, to_encode(title, text, spans))

    def begin(self, *uris: str) -> None:
        """Before a change is asked for; until `settle` nobody can say what is there, and where the
        request fails, not after it either."""
        for uri in uris:
            self._entries.setdefault(uri, Entry(self.now)).changing = True

    def settle(self, uri: str, document: Document | None) -> None:
        """The change is acknowledged."""
        self.now += 1
        self._entries[uri] = Entry(self.now, document)

    def state(self, uri: str, since: int) -> Entry | None:
        """What the uri stood for all the time since then; None where that is not known."""
        entry = self._entries.get(uri)
        return entry if entry and not entry.changing and entry.tick <= since else None

    def any(self, chance: random.Random) -> Document:
        """A document that is there."""
        while True:
            entry = self._entries[chance.choice(list(self._entries))]
            if entry.document is not None and not entry.changing:
                return entry.document

    def _paragraph(self) -> str:
        self._written += 1
        words = self._chance.choices(self._words, k=WORDS)
        return f"{' '.join(words).capitalize()} number {self._written}."

    def _word(self) -> str:
        return "".join(self._chance.choices(SYLLABLES, k=3))
