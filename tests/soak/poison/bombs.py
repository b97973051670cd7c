"""Files and texts that are small or allowed, and cost far more to read than they weigh.

Each is a request to `POST /api/portfolios/{id}/documents`. What may become of it is either of two:
refused as it comes, with a sentence, or accepted and then marked as failed.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MB = 1_000_000


@dataclass(frozen=True)
class Bomb:
    """`name` and `data` as a file, or a text to be indexed where there is no name."""

    kind: str
    name: str | None
    data: bytes
    metadata: Mapping[str, Any]

    def request(self) -> dict[str, Any]:
        """For an httpx client."""
        if self.name is not None:
            return {"files": {"files": (self.name, self.data)}}
        title = f"{self.kind} {random.Random(self.data[:64]).random()}"
        text = self.data.decode()
        document = {"title": title, "text": text, "metadata": dict(self.metadata)}
        return {"content": orjson.dumps({"documents": [document]}),
                "headers": {"Content-Type": "application/json"}}  # fmt: skip


Make = Callable[[float], bytes]
DOCUMENT = b'{"title":"a","text":"b","metadata":{"a":%b}}'
# By kind: the file's name, and its bytes at a size between a half and one of the most.
FILES: Mapping[str, tuple[str, Make]] = {
    "lists in lists": ("a.json", lambda size: b"[" * int(30 * MB * size)),
    "objects in objects": ("a.json", lambda size: b'{"a":' * int(6 * MB * size)),
    "ten million objects": ("a.json", lambda size: b"[" + b"{}," * int(10 * MB * size) + b"{}]"),
    "ten million lists": ("a.json", lambda size: b"[" + b"[]," * int(10 * MB * size) + b"[]]"),
    "numbers": ("a.json", lambda size: b"[" + b"1.5," * int(7 * MB * size) + b"1]"),
    "a number": ("a.json", lambda size: DOCUMENT % (b"9" * int(30 * MB * size))),
    "a negative exponent": ("a.json", lambda size: b"[1e-" + b"9" * int(30 * MB * size) + b"]"),
    "metadata of lists": (
        "a.json",
        lambda size: DOCUMENT % (b"[" + b"[]," * int(9 * MB * size) + b"[]]"),
    ),
    "metadata of keys": (
        "a.json",
        lambda size: (
            DOCUMENT % (b"{" + b",".join(b'"%d":0' % n for n in range(int(2 * MB * size))) + b"}")
        ),
    ),
    "a million documents": (
        "a.jsonl",
        lambda size: b'{"title":"a","text":"b"}\n' * int(1.2 * MB * size),
    ),
    "a million lines": ("a.jsonl", lambda size: b"1\n" * int(15 * MB * size)),
    "escapes": ("a.json", lambda size: b'{"title":"a","text":"' + rb"\u0000" * int(5 * MB * size)),
    "zip by another name": ("a.md", lambda size: b"PK\x03\x04" + b"\0" * int(30 * MB * size)),
    "gzip by another name": ("a.txt", lambda size: b"\x1f\x8b\x08" + b"\0" * int(30 * MB * size)),
    "nothing but spaces": ("a.md", lambda size: b" " * int(30 * MB * size)),
    "front matter": (
        "a.md",
        lambda size: b"---\n" + b"a: &a [*a,*a,*a]\n" * int(1.8 * MB * size) + b"---\nx",
    ),
    "a line": ("a.md", lambda size: b"x" * int(22 * MB * size)),
    "tags that never end": ("a.html", lambda size: b"<a " * int(9 * MB * size)),
    "elements in elements": ("a.html", lambda size: b"<div>" * int(6 * MB * size)),
    "half of a letter": ("a.txt", lambda size: b"a" * int(30 * MB * size) + b"\xc3"),
}
# Accepted, and too much for whoever cuts them: by kind the metadata, and the text.
TEXTS: Mapping[str, tuple[Mapping[str, Any], Make]] = {
    "pairs": ({"kind": "faq"}, lambda size: b"Q: a\n" * int(2 * MB * size)),
    "terms": ({"kind": "glossary"}, lambda size: b"**a**: b\n" * int(1.1 * MB * size)),
}


KINDS = (*FILES, *TEXTS)
# Refused within a second or two.
QUICK = ("lists in lists", "a million documents", "zip by another name", "front matter", "escapes")


def bombs(kinds: Iterable[str], chance: random.Random) -> Iterator[Bomb]:
    """One of each, of different sizes; made when it is asked for."""
    for kind in kinds:
        yield _made(kind, chance.uniform(0.85, 1.0))


def _made(kind: str, size: float) -> Bomb:
    if kind in FILES:
        name, make = FILES[kind]
        return Bomb(kind, name, make(size), {})
    metadata, make = TEXTS[kind]
    return Bomb(kind, None, make(size), metadata)
