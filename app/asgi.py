"""Production entry: `uvicorn --factory app.asgi:create`, configured by the environment."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import structlog
from fastapi import FastAPI

from app.api.services import Services
from app.bootstrap import Settings, build_services, with_indexer, with_worker
from app.main import create_app
from app.telemetry import configure_logging
from app.telemetry.tracing import open_tracing

log = structlog.get_logger(__name__)


def create() -> FastAPI:
    """The application on the servers that the environment names."""
    settings = Settings()
    configure_logging(settings.log_level)
    if settings.profile is not None:
        log.info("profile", named=settings.profile)

    tracing = open_tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def services() -> AsyncIterator[Services]:
        async with (
            aclosing(tracing),
            build_services(settings, tracing) as built,
            with_indexer(settings),
            with_worker(built),
        ):
            yield built

    return create_app(services, telemetry=tracing.http)
