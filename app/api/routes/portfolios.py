"""Administration of portfolios."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.api.auth import Administrator, Reader
from app.api.body import json_body_of_administrator
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Id, Limit
from app.api.schemas import PortfolioBody, PortfolioChange, request_body
from app.api.services import services_of
from app.api.shapes import PortfolioJson, PortfoliosJson
from app.api.wire import page_json, portfolio_json

router = APIRouter(prefix="/api/portfolios", tags=["portfolios"])


@router.get("", responses={200: {"model": PortfoliosJson}})
async def list_portfolios(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Json:
    """The portfolios, a page at a time."""
    page = await services_of(request).portfolios.list(caller, limit, after)
    return Json(page_json(page, portfolio_json))


@router.post(
    "",
    status_code=201,
    openapi_extra=request_body(PortfolioBody),
    responses={201: {"model": PortfolioJson}},
)
async def create_portfolio(
    request: Request,
    caller: Administrator,
    body: Annotated[PortfolioBody, Depends(json_body_of_administrator(PortfolioBody))],
) -> Json:
    """Make an empty portfolio."""
    portfolio = await services_of(request).portfolios.create(caller, body.model_dump())
    return Json(portfolio_json(portfolio), 201, {"Location": f"/api/portfolios/{portfolio.id}"})


@router.get("/{portfolio_id}", responses={200: {"model": PortfolioJson}})
async def show_portfolio(request: Request, portfolio_id: Id, caller: Reader) -> Json:
    """One portfolio, with its size."""
    return Json(portfolio_json(await services_of(request).portfolios.get(caller, portfolio_id)))


@router.patch(
    "/{portfolio_id}",
    openapi_extra=request_body(PortfolioChange, partial=True),
    responses={200: {"model": PortfolioJson}},
)
async def change_portfolio(
    request: Request,
    portfolio_id: Id,
    caller: Administrator,
    body: Annotated[PortfolioChange, Depends(json_body_of_administrator(PortfolioChange))],
) -> Json:
    """Set a portfolio's name or description."""
    portfolios = services_of(request).portfolios
    return Json(portfolio_json(await portfolios.update(caller, portfolio_id, body.given())))


@router.delete("/{portfolio_id}", status_code=204, response_class=Response)
async def delete_portfolio(request: Request, portfolio_id: Id, caller: Administrator) -> Response:
    """Remove a portfolio with everything in it."""
    await services_of(request).portfolios.delete(caller, portfolio_id)
    return Response(status_code=204)
