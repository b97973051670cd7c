"""Invalidation of cached answers and passages."""

from fastapi import APIRouter, Request

from app.api.auth import Administrator
from app.api.jsonbytes import Json
from app.api.params import OptionalId, known_id
from app.api.services import services_of
from app.api.shapes import InvalidatedJson
from app.chat.cache import part_tag, tenant_tag

router = APIRouter(prefix="/api/admin/cache", tags=["administration"])


@router.delete("", responses={200: {"model": InvalidatedJson}})
async def invalidate(
    request: Request,
    caller: Administrator,
    agent_id: OptionalId = None,
    portfolio_id: OptionalId = None,
) -> Json:
    """Forget the cached answers and passages of an agent, of a portfolio, or of the tenant."""
    services = services_of(request)
    agent, portfolio = known_id(agent_id), known_id(portfolio_id)
    # First the epoch, then the memory: an answer that is put in between is never found again.
    await services.invalidation.raise_epoch(caller, agent, portfolio)
    tenant = caller.tenant_id
    tags = []
    if agent is not None:
        tags.append(part_tag("agent", tenant, agent))
    if portfolio is not None:
        tags.append(part_tag("portfolio", tenant, portfolio))
    dropped = [await services.cache.drop(tag) for tag in tags or [tenant_tag(tenant)]]
    return Json({"invalidated": sum(dropped)})
