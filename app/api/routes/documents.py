"""Documents of a portfolio."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.auth import Member, Reader
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Id, Limit
from app.api.schemas import DocumentsBody, request_body
from app.api.services import Services, services_of
from app.api.shapes import AcceptedJson, DocumentJson, DocumentsAcceptedJson, DocumentsJson
from app.api.uploads import read_documents
from app.api.wire import document_json, document_summary_json, page_json
from app.chat.model import Scope
from app.errors import NotFound
from app.ingest.ports import Accepted, NewDocument

DELETED = "It was deleted before it was indexed."

router = APIRouter(prefix="/api", tags=["documents"])


@router.post(
    "/portfolios/{portfolio_id}/documents",
    status_code=202,
    openapi_extra=request_body(DocumentsBody, files=True),
    responses={
        202: {"model": DocumentsAcceptedJson, "description": "Stored, to be indexed shortly"},
        200: {"model": DocumentsAcceptedJson, "description": "Indexed (with `wait=true`)"},
    },
)
async def add_documents(
    request: Request,
    portfolio_id: Id,
    caller: Member,
    wait: Annotated[bool, Query(description="Answer once they are indexed.")] = False,
) -> Json:
    """Add documents, as JSON (texts, and pages by their URL) or as files. A known `uri` with a new
    text replaces the old one."""
    services = services_of(request)
    await services.portfolios.check_writable(caller, portfolio_id)
    documents = await read_documents(
        request, services.max_request_bytes, services.reader, services.pages
    )
    accepted = await services.ingestor.accept(caller, portfolio_id, documents)
    items = [_accepted_json(*pair) for pair in zip(documents, accepted, strict=True)]
    if wait:
        await services.ingestor.index([a.upload_id for a in accepted if a.upload_id is not None])
        await _update(services, caller, items)
    ids = [item["id"] for item in items]
    return Json({"items": items, "ids": ids}, status_code=200 if wait else 202)


@router.get("/portfolios/{portfolio_id}/documents", responses={200: {"model": DocumentsJson}})
async def list_documents(
    request: Request,
    portfolio_id: Id,
    caller: Reader,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
) -> Json:
    """The documents of a portfolio without their texts, a page at a time."""
    page = await services_of(request).documents.list(caller, portfolio_id, limit, after)
    return Json(page_json(page, document_summary_json))


@router.get("/documents/{document_id}", responses={200: {"model": DocumentJson}})
async def show_document(request: Request, document_id: Id, caller: Reader) -> Json:
    """One document with its text and its state."""
    return Json(document_json(await services_of(request).documents.get(caller, document_id)))


@router.delete("/documents/{document_id}", status_code=204, response_class=Response)
async def delete_document(request: Request, document_id: Id, caller: Member) -> Response:
    """Remove a document; no answer cites it any more."""
    services = services_of(request)
    document = await services.documents.get(caller, document_id)
    await services.portfolios.check_writable(caller, document.portfolio_id)
    await services.documents.delete(caller, document_id)
    return Response(status_code=204)


def _accepted_json(document: NewDocument, accepted: Accepted) -> AcceptedJson:
    return {
        "id": accepted.document_id,
        "title": document.title,
        "uri": document.uri,
        "status": "indexed" if accepted.upload_id is None else "pending",
        "action": accepted.action,
        "error": None,
    }


async def _update(services: Services, caller: Scope, items: Sequence[AcceptedJson]) -> None:
    """Replace what was expected of each document by what has become of it."""
    for item in items:
        try:
            document = await services.documents.get(caller, item["id"])
            item["status"], item["error"] = document.status, document.error
        except NotFound:
            item["status"], item["error"] = "failed", DELETED
