"""From a file's bytes to documents: Markdown, plain text, web pages, JSON and JSON Lines.

Pure and CPU-bound: run it in a thread for anything that came over the network.
"""

import enum
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import orjson

from app.errors import UnsupportedMediaType
from app.ingest.check import MAX_TITLE_CHARS, check_text
from app.ingest.errors import EmptyDocument, InvalidEncoding, InvalidText, MalformedDocument
from app.ingest.html import html_text
from app.ingest.markdown import front_matter, headings
from app.ingest.ports import NewDocument


class Kind(enum.Enum):
    MARKDOWN = enum.auto()
    TEXT = enum.auto()
    HTML = enum.auto()
    JSON = enum.auto()
    JSON_LINES = enum.auto()


SUFFIXES = {
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".txt": Kind.TEXT,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
    ".json": Kind.JSON,
    ".jsonl": Kind.JSON_LINES,
}
CONTENT_TYPES = {
    "text/markdown": Kind.MARKDOWN,
    "text/x-markdown": Kind.MARKDOWN,
    "text/plain": Kind.TEXT,
    "text/html": Kind.HTML,
    "application/json": Kind.JSON,
    "application/jsonl": Kind.JSON_LINES,
    "application/x-ndjson": Kind.JSON_LINES,
}
# How files begin that are often given a wrong name.
BINARY_STARTS = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive (as are .docx, .xlsx and .pptx)",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x1f\x8b": "gzip-compressed",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"\x7fELF": "a program",
}
UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff")
FIELDS = {"title", "text", "uri", "metadata"}
SUPPORTED = f"Supported are {', '.join(SUFFIXES)}, all as UTF-8."


def parse_file(name: str, data: bytes, content_type: str | None = None) -> list[NewDocument]:
    """The documents in a file, in order, each with a `uri`: its own where JSON gives it one, else
    the file's name, which may be a relative path; further ones of a file have a number behind it.

    Markdown and text are kept as they are, but for a byte order mark and CRLF, which becomes LF; of
    a web page what its readers see.
    Raises InvalidInput in one of its kinds (see `app.ingest.errors`) or UnsupportedMediaType.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    kind = kind_of(path, data, content_type)
    text = decode(data)
    check_text(text)
    if kind is Kind.JSON:
        documents = from_json(load(text, "The file"))
    elif kind is Kind.JSON_LINES:
        documents = from_items(load_lines(text))
    elif kind is Kind.HTML:
        own_title, shown = html_text(text)
        check_text(shown)
        documents = [NewDocument((own_title or path.stem or "Untitled")[:MAX_TITLE_CHARS], shown)]
    else:
        text = text.replace("\r\n", "\n")
        title = (markdown_title(text) if kind is Kind.MARKDOWN else None) or path.stem or "Untitled"
        metadata = markdown_metadata(text) if kind is Kind.MARKDOWN else {}
        documents = [NewDocument(title[:MAX_TITLE_CHARS], text, metadata=metadata)]
    return [
        document if document.uri else replace(document, uri=file_uri(name, place))
        for place, document in enumerate(documents)
    ]


def file_uri(name: str, place: int) -> str | None:
    """What a file's document is known by; None where the file has no name."""
    return f"{name}#{place}" if name and place else name or None


def kind_of(path: PurePosixPath, data: bytes, content_type: str | None) -> Kind:
    """By content where that rules text out, then by the name's suffix, then by content type."""
    for start, what in BINARY_STARTS.items():
        if data.startswith(start):
            raise UnsupportedMediaType(f"The file is {what}. {SUPPORTED}")
    media_type = (content_type or "").partition(";")[0].strip().lower()
    kind = SUFFIXES.get(path.suffix.lower()) or CONTENT_TYPES.get(media_type)
    if kind is None:
        what = path.suffix or media_type or "without a suffix"
        raise UnsupportedMediaType(f"Files of this type ({what}) are not read. {SUPPORTED}")
    return kind


def decode(data: bytes) -> str:
    """The text without a byte order mark. Raises InvalidEncoding naming the first bad byte."""
    if data.startswith(UTF16_STARTS):
        raise InvalidEncoding("The file is UTF-16; save it as UTF-8 and send it again.")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise InvalidText(
                f"The file is binary: it is not UTF-8 at byte {error.start} and has NUL "
                f"characters. {SUPPORTED}"
            ) from error
        raise InvalidEncoding(
            f"The file is not UTF-8 at byte {error.start}; save it as UTF-8 and send it again."
        ) from error


def markdown_title(text: str) -> str | None:
    """What the author calls the document: `title:` of the front matter, or the first heading."""
    _, fields = front_matter(text)
    if fields.get("title"):
        return fields["title"]
    first = next(headings(text), None)
    return first.title if first else None


def markdown_metadata(text: str) -> dict[str, Any]:
    """`kind:` of the front matter, which says how the document is cut (`app.ingest.pairs`)."""
    _, fields = front_matter(text)
    return {"kind": fields["kind"]} if fields.get("kind") else {}


def load(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedDocument(f"{what} is not valid JSON: {error}.") from error


def load_lines(text: str) -> list[Any]:
    lines = enumerate(text.split("\n"), start=1)
    return [load(line, f"Line {number}") for number, line in lines if line.strip()]


def from_json(value: Any) -> list[NewDocument]:
    if isinstance(value, dict) and "documents" in value:
        value = value["documents"]
        if not isinstance(value, list):
            raise MalformedDocument("`documents` must be a list of objects.")
    elif isinstance(value, dict):
        return [from_item(value, "The document")]
    if not isinstance(value, list):
        raise MalformedDocument(
            "The JSON must be an object with `title` and `text`, a list of them, or "
            '{"documents": [...]}.'
        )
    return from_items(value)


def from_items(items: list[Any]) -> list[NewDocument]:
    if not items:
        raise EmptyDocument("The file has no documents; send at least one.")
    return [from_item(item, f"Document {position}") for position, item in enumerate(items, start=1)]


def from_item(item: Any, what: str) -> NewDocument:
    if not isinstance(item, dict):
        raise MalformedDocument(f"{what} must be an object with `title` and `text`.")
    if item.keys() >= {"question", "answer"}:
        return from_pair(item, what)
    if unknown := sorted(item.keys() - FIELDS):
        raise MalformedDocument(
            f"{what} has the unknown field {unknown[0]!r}; known are title, text, uri and "
            "metadata, where any further value belongs."
        )
    for field in ("title", "text"):
        if not isinstance(item.get(field), str):
            raise MalformedDocument(f"{what} needs a `{field}` that is text.")
    uri, metadata = item.get("uri"), item.get("metadata")
    if not isinstance(uri, str | None):
        raise MalformedDocument(f"{what} has a `uri` that is not text.")
    if not isinstance(metadata, dict | None):
        raise MalformedDocument(f"{what} has `metadata` that is not an object.")
    return NewDocument(item["title"], item["text"], uri, metadata or {})


def from_pair(item: dict[str, Any], what: str) -> NewDocument:
    """A question with its answer is a document of its own, titled by the question."""
    others = {name: value for name, value in item.items() if name not in ("question", "answer")}
    document = from_item(
        {**others, "title": item["question"], "text": item["answer"]}, f"{what} (a pair)"
    )
    return replace(document, metadata={"kind": "faq", **document.metadata})
