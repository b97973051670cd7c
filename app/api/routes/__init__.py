"""The calls of the HTTP contract, one module per noun."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends

from app.api.auth import identify
from app.api.params import check_parameters
from app.api.routes import (
    agents,
    audit,
    cache,
    chat,
    conversations,
    documents,
    health,
    keys,
    portfolios,
    retrieve,
    runs,
    session,
    stats,
    usage,
    users,
)

# Their callers are known before a word is said about a request, or with what it reads: strangers
# are told nothing else.
OF_CALLERS: tuple[APIRouter, ...] = (
    chat.router,
    runs.router,
    retrieve.router,
    agents.router,
    portfolios.router,
    documents.router,
    conversations.router,
    cache.router,
    stats.router,
    usage.router,
    audit.router,
    users.router,
    keys.router,
)
# Where strangers become callers.
OF_STRANGERS: tuple[APIRouter, ...] = (session.router,)
# Parameters that they do not know are nothing to what asks for them: balancers, Prometheus.
OF_MACHINES: tuple[APIRouter, ...] = (health.router,)


def _together(
    routers: tuple[APIRouter, ...], *checks: Callable[..., Awaitable[object]]
) -> APIRouter:
    """One router of all of them, each call of which is checked so before it is made."""
    one = APIRouter(dependencies=[Depends(check) for check in checks])
    for router in routers:
        one.include_router(router)
    return one


ROUTERS: tuple[APIRouter, ...] = (
    _together(OF_CALLERS, identify, check_parameters),
    _together(OF_STRANGERS, check_parameters),
    *OF_MACHINES,
)
