"""Production entry: `uvicorn --factory app.asgi:create`, configured by the environment."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager

import structlog
from fastapi import FastAPI

from app.api.services import Services
from app.bootstrap import Settings, build_services, with_indexer, with_worker
from app.main import create_app
from app.production import refuse_in_production
from app.settings.secrets import secrets_of
from app.telemetry import configure_logging
from app.telemetry.tracing import open_tracing

log = structlog.get_logger(__name__)


def create() -> FastAPI:
    """The application on the servers that the environment names."""
    settings = Settings()
    configure_logging(settings.log_level, secrets=secrets_of(settings))
    if settings.profile is not None:
        log.info("profile", named=settings.profile)

    tracing = open_tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def services() -> AsyncIterator[Services]:
        async with AsyncExitStack() as stack:
            with _told():
                await refuse_in_production(settings)
                await stack.enter_async_context(aclosing(tracing))
                built = await stack.enter_async_context(build_services(settings, tracing))
                await stack.enter_async_context(with_indexer(settings))
                await stack.enter_async_context(with_worker(settings, built))
            yield built

    return create_app(services, telemetry=tracing.http, origins=settings.cors_origins)


@contextmanager
def _told() -> Iterator[None]:
    """Log why the service does not start. All that uvicorn says of it is a text that may hold
    anything, of which a line of the log has the beginning."""
    try:
        yield
    except Exception as error:
        log.critical("not started", exc_info=error)
        raise
