"""The HTTP application: its lifespan, its routes, its edges."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from app.api import openapi, problems
from app.api.door import ChatDoor
from app.api.metrics import ApiMetrics
from app.api.middleware import DrainUnread, Edge
from app.api.page import page_router
from app.api.routes import ROUTERS
from app.api.services import Services

CONTRACT_VERSION = "1"  # of the calls and their shapes, not of the package


def create_app(build_services: Callable[[], AbstractAsyncContextManager[Services]]) -> FastAPI:
    """The application around the Services that `build_services` opens for its lifetime."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with build_services() as services:
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
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(page_router())
    openapi.install(app)
    app.state.metrics = ApiMetrics()
    app.add_middleware(ChatDoor)
    app.add_middleware(Edge, count=app.state.metrics.count)
    app.add_middleware(DrainUnread)  # the outermost: also for what Edge answers
    return app
