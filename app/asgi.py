"""Production entry: `uvicorn --factory app.asgi:create`, configured by the environment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api.services import Services
from app.bootstrap import Settings, build_services, with_indexer, with_worker
from app.main import create_app
from app.telemetry import configure_logging


def create() -> FastAPI:
    """The application on the servers that the environment names."""
    settings = Settings()
    configure_logging(settings.log_level)

    @asynccontextmanager
    async def services() -> AsyncIterator[Services]:
        async with (
            build_services(settings) as built,
            with_indexer(settings),
            with_worker(built),
        ):
            yield built

    return create_app(services)
