"""The calls of the HTTP contract, one module per noun."""

from fastapi import APIRouter

from app.api.routes import (
    agents,
    cache,
    chat,
    conversations,
    documents,
    health,
    portfolios,
    retrieve,
    runs,
    stats,
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
    health.router,
)
