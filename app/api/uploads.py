"""Documents as they come in over HTTP: a JSON list of texts, or files."""

import asyncio
from collections.abc import Sequence

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from app.api.body import limited, media_type, parse_json, read_json, refuse_encodings
from app.api.schemas import MAX_DOCUMENTS, DocumentsBody
from app.errors import InvalidInput, MalformedBody, UnsupportedMediaType
from app.ingest.parse import parse_file
from app.ingest.ports import NewDocument


async def read_documents(request: Request, limit: int) -> list[NewDocument]:
    """The documents of a request of at most `limit` bytes.

    Raises UnsupportedMediaType, TooLarge, MalformedBody and InvalidInput.
    """
    match media_type(request):
        case "application/json":
            body = parse_json(DocumentsBody, await read_json(request, limit))
            return [document.document() for document in body.documents]
        case "multipart/form-data":
            refuse_encodings(request)
            return await _read_files(request, limit)
    raise UnsupportedMediaType(
        "Send documents as `application/json` or files as `multipart/form-data`."
    )


async def _read_files(request: Request, limit: int) -> list[NewDocument]:
    counted = Request(request.scope, limited(request, limit))
    documents: list[NewDocument] = []
    try:
        # Starlette keeps a file's first MB in memory and the rest in a temporary file.
        async with counted.form(max_files=MAX_DOCUMENTS, max_fields=MAX_DOCUMENTS) as form:
            for name, part in form.multi_items():
                if not isinstance(part, UploadFile):
                    raise InvalidInput(f"The part `{name[:100]}` is not a file; send files only.")
                documents += await _parse(part)
    except HTTPException as error:
        raise MalformedBody(f"The body is not valid multipart: {error.detail}") from None
    if not documents:
        raise InvalidInput("Send at least one file.")
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidInput(f"Send at most {MAX_DOCUMENTS:,} documents at once.")
    return documents


async def _parse(part: UploadFile) -> Sequence[NewDocument]:
    data = await part.read()
    name = part.filename or ""
    return await asyncio.to_thread(parse_file, name, data, part.content_type)
