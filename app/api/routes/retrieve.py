"""Retrieval alone."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.api.auth import Member
from app.api.body import json_body
from app.api.jsonbytes import Json
from app.api.schemas import RetrieveBody, request_body
from app.api.services import services_of
from app.api.shapes import RetrievalJson
from app.api.wire import retrieval_json
from app.chat.language import recognise
from app.errors import InvalidInput

router = APIRouter(prefix="/api/retrieve", tags=["retrieval"])


@router.post(
    "", openapi_extra=request_body(RetrieveBody), responses={200: {"model": RetrievalJson}}
)
async def retrieve(
    request: Request,
    caller: Member,
    body: Annotated[RetrieveBody, Depends(json_body(RetrieveBody))],
) -> Json:
    """The passages of a portfolio that match a query best, best first."""
    services = services_of(request)
    check_top_k(body.top_k, services.max_top_k)
    await services.portfolios.get(caller, body.portfolio_id)
    found = await services.retriever.retrieve(caller, body.request(await recognise(body.query)))
    return Json(retrieval_json(found))


def check_top_k(top_k: int, highest: int) -> None:
    """Raise InvalidInput above what the operator allows."""
    if top_k > highest:
        raise InvalidInput(f"The field `top_k` is at most {highest} on this server.")
