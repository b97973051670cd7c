"""What is done with hostile bytes: read a file, look through a JSON body, cut a text.

Each job is a pure function from bytes to bytes, so that it can run in a process that is taken
away from it (`app.ingest.confined`). Texts do not come back where the caller has them already:
then a reply says where to cut.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.errors import AppError, InvalidInput, MalformedBody, UnsupportedMediaType
from app.ingest.check import check_metadata
from app.ingest.cutting import Cut, cut_text
from app.ingest.errors import (
    DocumentTooComplex,
    EmptyDocument,
    InvalidEncoding,
    InvalidMetadata,
    InvalidText,
    MalformedDocument,
)
from app.ingest.json_values import bounded_json
from app.ingest.pairs import Piece
from app.ingest.parse import parse_file
from app.ingest.ports import NewDocument, Span

# What a job may refuse its bytes with; any other failure is said to be the document's complexity.
REFUSALS: Mapping[str, type[AppError]] = {
    refusal.code: refusal
    for refusal in (
        DocumentTooComplex,
        EmptyDocument,
        InvalidEncoding,
        InvalidInput,
        InvalidMetadata,
        InvalidText,
        MalformedBody,
        MalformedDocument,
        UnsupportedMediaType,
    )
}

NO_MEMORY = "Not enough memory"


def perform(job: str, options: Mapping[str, Any], data: bytes) -> bytes:
    """Do one job; its result, or what it refuses the bytes with, for `result_of`."""
    try:
        return orjson.dumps({"result": JOBS[job](options, data)})
    except AppError as error:
        return orjson.dumps({"code": error.code, "message": error.message})
    except (MemoryError, RecursionError, SystemError):  # the last: what orjson makes of the first
        return orjson.dumps({"code": DocumentTooComplex.code, "message": None})


def result_of(reply: bytes) -> Any:
    """What `perform` made. Raises one of REFUSALS where it refused."""
    said = orjson.loads(reply)
    if "result" in said:
        return said["result"]
    raise REFUSALS.get(said["code"], DocumentTooComplex)(said["message"])


def _parse(options: Mapping[str, Any], data: bytes) -> list[dict[str, Any]]:
    try:
        documents = parse_file(options["name"], data, options["content_type"])
    except MalformedDocument as error:
        if NO_MEMORY in error.message:  # orjson's word for it
            raise DocumentTooComplex from error
        raise
    if len(documents) > options["max_documents"]:
        raise InvalidInput(f"Send at most {options['max_documents']:,} documents at once.")
    return [_checked(*numbered) for numbered in enumerate(documents, start=1)]


def _checked(position: int, document: NewDocument) -> dict[str, Any]:
    """A document to send back; without looking, metadata of millions of values would go along."""
    try:
        check_metadata(document.metadata)
    except InvalidInput as error:
        raise type(error)(f"Document {position} of the file: {error.message}") from error
    return {
        "title": document.title,
        "text": document.text,
        "uri": document.uri,
        "metadata": document.metadata,
    }


def _look_through(options: Mapping[str, Any], data: bytes) -> None:
    bounded_json(data)


def _cut(options: Mapping[str, Any], data: bytes) -> list[Any]:
    made = cut_text(
        options["title"],
        data.decode(),
        options["metadata"],
        options["language"],
        options["chunk_chars"],
    )
    pieces = [(piece.span.start, piece.span.end, piece.question) for piece in made.pieces]
    return [pieces, made.names, made.paths]


def documents_from(result: Any) -> list[NewDocument]:
    """The documents of a `parse` job's result."""
    return [NewDocument(**fields) for fields in result]


def cut_from(result: Any) -> Cut:
    """The Cut of a `cut` job's result."""
    pieces, names, paths = result
    return Cut([Piece(Span(start, end), question) for start, end, question in pieces], names, paths)


JOBS: Mapping[str, Callable[[Mapping[str, Any], bytes], Any]] = {
    "parse": _parse,
    "look_through": _look_through,
    "cut": _cut,
}
