"""The outermost edge: request ids, the access log, and the one place that catches everything.

Pure ASGI: `BaseHTTPMiddleware` hides disconnects and buffers streams.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence

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
# Of every answer that has no policy of its own, as the page has. To a browser an answer of the API
# is data: nothing in it is drawn, run, framed, or read by another origin's page.
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
STREAMS = frozenset(("/api/agents/{agent_id}/chat/stream", "/api/runs/{run_id}/events"))
CLIENT_LEFT = 499  # nginx's number for it; it is only ever logged

Header = tuple[bytes, bytes]
Audit = Callable[[Scope, int, Iterable[tuple[bytes, bytes]]], Awaitable[None] | None]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Edge:
    """Gives every response its `X-Request-ID` and its security headers, logs one line per
    request, turns bugs into 500.

    `count` is told of every request that is over: method, route's template and status; `stream` of
    every answer that is streamed: 1 as it begins, -1 as it ends. `audit` is told of every response
    before it begins, which waits for what it returns.
    """

    def __init__(
        self,
        app: ASGIApp,
        count: Callable[[str, str, int], None],
        stream: Callable[[int], None],
        audit: Audit,
    ) -> None:
        self._app = app
        self._count = count
        self._stream = stream
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        added = [(b"x-request-id", request_id.encode()), *SECURITY]
        status, streams = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 200 and _template(scope) in STREAMS:
                    streams = True
                    self._stream(1)
                headers = message.get("headers", ())
                if (recording := self._audit(scope, status, headers)) is not None:
                    await recording
                message["headers"] = _secured(headers, added)
                if "limited" in state:
                    message["headers"] += state["limited"].headers()
            await send(message)

        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                if not status and (recording := self._audit(scope, CLIENT_LEFT, ())) is not None:
                    await recording
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
                if "limited" in state:
                    state["limited"].over()
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


def _secured(own: Iterable[Header], added: Sequence[Header]) -> list[Header]:
    """An answer's own headers, and the common ones that it does not have."""
    headers = list(own)
    if any(name == b"content-security-policy" for name, _ in headers):
        had = {name for name, _ in headers}
        return [*headers, *(each for each in added if each[0] not in had)]
    return [*headers, *added]


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
