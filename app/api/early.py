"""Looking a credential up while its request is still being routed and read.

Postgres answers in less time than the framework takes until it asks who somebody is. So nothing is
decided here: `app.api.auth` waits for what was found, and says what is wrong.
"""

import asyncio

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import Lookup, claim
from app.api.services import services_of
from app.errors import AppError


class EarlyLookup:
    """Pure ASGI, around the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            await _begin(Request(scope))
        await self._app(scope, receive, send)


async def _begin(request: Request) -> None:
    try:
        claimed = await claim(request)
    except AppError as error:  # to be said where the route needs somebody
        request.state.lookup = Lookup(None, refused=error)
        return
    if claimed is None:
        request.state.lookup = Lookup(None)
        return
    found = asyncio.create_task(services_of(request).credentials.resolve(claimed))
    found.add_done_callback(_noticed)
    request.state.lookup = Lookup(claimed, found)
    await asyncio.sleep(0)  # the question is on its way


def _noticed(found: "asyncio.Task[object]") -> None:
    """Of a route that needs nobody, nobody waits for it; whoever does has the error."""
    if not found.cancelled():
        found.exception()
