"""The outermost edge: request ids, the access log, and the one place that catches everything.

Pure ASGI: `BaseHTTPMiddleware` hides disconnects and buffers streams.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import internal_error

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# How long an upload that was refused may still be on its way. A connection that is closed while
# the client is sending is reset, and the client never sees the answer.
DRAIN_SECONDS = 10.0
# A client that asks first (`Expect: 100-continue`) may wait with its body for ever, or not at all:
# what it sends in spite of its question is on its way already.
DRAIN_SECONDS_ASKED = 1.0
STREAMS = frozenset(("/api/agents/{agent_id}/chat/stream", "/api/runs/{run_id}/events"))
CLIENT_LEFT = 499  # nginx's number for it; it is only ever logged

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Edge:
    """Gives every response its `X-Request-ID`, logs one line per request, turns bugs into 500.

    `count` is told of every request that is over: method, route's template and status; `stream` of
    every answer that is streamed: 1 as it begins, -1 as it ends.
    """

    def __init__(
        self,
        app: ASGIApp,
        count: Callable[[str, str, int], None],
        stream: Callable[[int], None],
    ) -> None:
        self._app = app
        self._count = count
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        added = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
        status, streams = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 200 and _template(scope) in STREAMS:
                    streams = True
                    self._stream(1)
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = status or CLIENT_LEFT
            except Exception:
                log.exception("unhandled error", method=scope["method"], path=_template(scope))
                if status:
                    raise  # the server cuts the connection: the only way left to say so
                await internal_error(request_id)(scope, receive, send_with_id)
            finally:
                path, status = _template(scope), status or CLIENT_LEFT
                self._count(scope["method"], path, status)
                if streams:
                    self._stream(-1)
                log.info(
                    "request",
                    method=scope["method"],
                    path=path,
                    status=status,
                    ms=round((time.perf_counter() - began) * 1000, 2),
                )


class DrainUnread:
    """Reads on after an answer that did not wait for the body, so that the client receives it.

    The answer goes out at once; only its end waits, for at most so long. Nothing is kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _sends_body(scope):
            await self._app(scope, receive, send)
            return
        unread, seconds = True, DRAIN_SECONDS_ASKED if _asks_first(scope) else DRAIN_SECONDS

        async def tracked() -> Message:
            nonlocal unread, seconds
            seconds = DRAIN_SECONDS  # who asked has been told to go on
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                unread = False
            return message

        async def drain() -> None:
            while unread:
                await tracked()

        async def finish_late(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (last and unread):
                await send(message)
                return
            await send({**message, "more_body": True})
            try:
                await asyncio.wait_for(drain(), seconds)
            except TimeoutError:
                pass
            finally:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, tracked, finish_late)


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


def _template(scope: Scope) -> str:
    """The route's pattern: no ids, and nothing a caller could write into the log."""
    return getattr(scope.get("route"), "path", "(no route)")


def _sends_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _asks_first(scope: Scope) -> bool:
    """True where the client may wait for `100 Continue`; with any other expectation none does."""
    return any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )
