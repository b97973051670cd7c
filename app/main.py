"""The HTTP application: its lifespan, its routes, its edges."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from app.api import cors, openapi, problems
from app.api.auditing import audit
from app.api.door import ChatDoor
from app.api.metrics import ApiMetrics
from app.api.middleware import DrainUnread, Edge
from app.api.page import page_router
from app.api.routes import ROUTERS
from app.api.services import Services
from app.performance.ledger import Ledger
from app.telemetry.tracing import Tracing

CONTRACT_VERSION = "1"  # of the calls and their shapes, not of the package


def create_app(
    build_services: Callable[[], AbstractAsyncContextManager[Services]],
    *,
    ledger: Ledger | None = None,
    telemetry: TelemetryConfig | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """The application around the Services that `build_services` opens for its lifetime. `ledger`
    is where it counts together with other processes; `telemetry` is FastAPI's, which is off
    without it; `origins` are the other sites whose pages may call it."""
    metrics = ApiMetrics(ledger)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with build_services() as services, metrics.published(services):
            app.state.services = services
            yield

    app = FastAPI(
        title="Citestream",
        version=CONTRACT_VERSION,
        summary="Cited answers over a team's own documents, whole or streamed.",
        lifespan=lifespan,
        docs_url=None,  # both pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=problems.RESPONSES,
        telemetry=telemetry or Tracing().http,
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(page_router())
    openapi.install(app)
    app.state.metrics = metrics
    app.add_middleware(ChatDoor)
    app.add_middleware(Edge, count=metrics.count, stream=metrics.stream, audit=audit)
    cors.install(app, origins)  # around Edge: also for the errors that it answers
    app.add_middleware(DrainUnread)  # the outermost: also for what Edge answers
    return app
