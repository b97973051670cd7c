"""Documents as they come in over HTTP: a JSON list of texts and of URLs, or files."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.body import (
    SMALL_BODY_BYTES,
    limited,
    media_type,
    parse_json,
    read_json,
    refuse_encodings,
)
from app.api.imports import import_documents
from app.api.schemas import MAX_DOCUMENTS, DocumentsBody
from app.errors import InvalidInput, MalformedBody, TooLarge, UnsupportedMediaType
from app.ingest.ports import NewDocument, Reader
from app.outgoing.fetch import Pages

SHOWN_NAME_CHARS = 100


async def read_documents(
    request: Request, limit: int, reader: Reader, pages: Pages
) -> list[NewDocument]:
    """The documents of a request of at most `limit` bytes, which holds for its pages, too. Files,
    pages, and JSON of more than a small body, are read by `reader` first; a small body takes a few
    milliseconds at worst.

    Raises UnsupportedMediaType, TooLarge, MalformedBody, InvalidInput and PageUnavailable.
    """
    match media_type(request):
        case "application/json":
            data = await read_json(request, limit)
            if len(data) > SMALL_BODY_BYTES:
                await reader.look_through(data)
            body = await asyncio.to_thread(parse_json, DocumentsBody, data)
            return await import_documents(body.documents, pages, reader, limit)
        case "multipart/form-data":
            refuse_encodings(request)
            return await _read_files(request, limit, reader)
    raise UnsupportedMediaType(
        "Send documents as `application/json` or files as `multipart/form-data`."
    )


async def _read_files(request: Request, limit: int, reader: Reader) -> list[NewDocument]:
    form = await _read_form(request, limit)
    documents: list[NewDocument] = []
    try:
        for position, (name, part) in enumerate(form.multi_items(), start=1):
            if not isinstance(part, UploadFile):
                raise InvalidInput(f"The part `{name[:100]}` is not a file; send files only.")
            data, file = await part.read(), part.filename or ""
            with _naming(position, file):
                documents += await reader.parse(file, data, part.content_type, MAX_DOCUMENTS)
    finally:
        await form.close()
    if not documents:
        raise InvalidInput("Send at least one file.")
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidInput(f"Send at most {MAX_DOCUMENTS:,} documents at once.")
    return documents


@contextmanager
def _naming(position: int, name: str) -> Iterator[None]:
    """What is wrong with a file says with which; its name may be anything at all."""
    try:
        yield
    except (InvalidInput, TooLarge, UnsupportedMediaType) as error:
        visible = "".join(char if char.isprintable() else "�" for char in name[:SHOWN_NAME_CHARS])
        file = f"File {position} (“{visible}”)" if name else f"File {position}"
        raise type(error)(f"{file}: {error.message}") from error


async def _read_form(request: Request, limit: int) -> FormData:
    """The parts, all read. Starlette keeps a file's first MB in memory, the rest in a temporary
    file, which closing the form removes."""
    counted = Request(request.scope, limited(request, limit))
    try:
        async with aclosing(counted.stream()) as stream:
            return await _WholeForm(request.headers, stream).parse()
    except MultiPartException as error:
        raise MalformedBody(f"The body is not valid multipart: {error.message}") from None
    except UnicodeError:
        # From the codec that the request names as its charset, or a name in RFC 2231's form.
        raise MalformedBody("A part's name cannot be read; send names as UTF-8.") from None


class _WholeForm(MultiPartParser):
    """Starlette's parser, which would take a form that breaks off for one without its last file."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            headers, self._to_the_end(stream), max_files=MAX_DOCUMENTS, max_fields=MAX_DOCUMENTS
        )
        self._ended = False

    def on_end(self) -> None:
        self._ended = True

    async def _to_the_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Raises from inside the parser's loop, which closes what files there are by then."""
        async for piece in stream:
            yield piece
        if not self._ended:
            raise MultiPartException("it breaks off before its last boundary; send it again.")
