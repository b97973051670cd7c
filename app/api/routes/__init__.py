"""The calls of the HTTP contract, one module per noun."""

from fastapi import APIRouter

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

ROUTERS: tuple[APIRouter, ...] = (
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
    session.router,
    health.router,
)
