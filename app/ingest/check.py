"""The rules every document meets before it is stored, wherever it came from."""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from app.chat.normalise import is_invisible
from app.errors import InvalidInput
from app.ingest.errors import DocumentTooLarge, EmptyDocument, InvalidMetadata, InvalidText
from app.ingest.ports import NewDocument

MAX_TITLE_CHARS = 500
MAX_URI_CHARS = 2000
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 4


def check_document(document: NewDocument, max_bytes: int) -> None:
    """Raise the InvalidInput or TooLarge that says what is wrong with the document, if anything."""
    check_title(document.title)
    check_uri(document.uri)
    check_text(document.text, max_bytes)
    check_metadata(document.metadata)


def check_title(title: str) -> None:
    check_characters("`title`", title)
    if len(title) > MAX_TITLE_CHARS or is_invisible(title):
        raise InvalidInput(
            f"`title` must have 1 to {MAX_TITLE_CHARS} characters, one of them visible."
        )


def check_uri(uri: str | None) -> None:
    if uri is None:
        return
    check_characters("`uri`", uri)
    if len(uri) > MAX_URI_CHARS or is_invisible(uri):
        raise InvalidInput(
            f"`uri` must have 1 to {MAX_URI_CHARS} characters, one of them visible, or be left out."
        )


def check_text(text: str, max_bytes: int | None = None) -> None:
    """Raise EmptyDocument, InvalidText, or DocumentTooLarge beyond `max_bytes` of UTF-8."""
    if not text or text.isspace():
        raise EmptyDocument
    if max_bytes is not None and len(text) > max_bytes:
        raise too_large(max_bytes)
    size = check_characters("The text", text)
    if is_invisible(text):
        raise EmptyDocument
    if max_bytes is not None and size > max_bytes:
        raise too_large(max_bytes)


def too_large(max_bytes: int) -> DocumentTooLarge:
    return DocumentTooLarge(
        f"The document has more than the {max_bytes:,} bytes that this server accepts; split it."
    )


def check_characters(what: str, text: str) -> int:
    """The text's size as UTF-8. Raise InvalidText for what Postgres cannot store."""
    if (place := text.find("\0")) >= 0:
        raise InvalidText(f"{what} has a NUL character at position {place}; remove it.")
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"{what} has half of a surrogate pair at position {error.start}; send whole characters."
        ) from error


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidMetadata or InvalidText unless it is a small, shallow, storable JSON object."""
    check_value(metadata, MAX_METADATA_DEPTH)
    try:
        size = len(orjson.dumps(metadata))
    except TypeError as error:
        raise InvalidMetadata(f"`metadata` is not plain JSON: {error}.") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidMetadata(
            f"`metadata` has {size:,} bytes as JSON; {MAX_METADATA_BYTES:,} are allowed."
        )


def check_value(value: object, depth: int) -> None:
    if isinstance(value, str):
        check_characters("`metadata`", value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidMetadata("`metadata` has a number that is not finite; JSON has none.")
    elif isinstance(value, Mapping | list):
        if depth == 0:
            raise InvalidMetadata(
                f"`metadata` is nested more than {MAX_METADATA_DEPTH} levels deep; flatten it."
            )
        for key in value if isinstance(value, Mapping) else ():
            check_value(key, 0)
        for item in value.values() if isinstance(value, Mapping) else value:
            check_value(item, depth - 1)
