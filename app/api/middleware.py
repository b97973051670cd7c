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
Audit = Callable[[Scope, int, Iterable[Header]], Awaitable[None] | None]

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
        self.count = count
        self.stream = stream
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        response = _Response(self, scope, send, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, response.send)
            except ClientDisconnect:
                if not response.status:
                    await self.audit(scope, CLIENT_LEFT, ())
            except Exception:
                log.exception("unhandled error", method=scope["method"], path=_template(scope))
                if response.status:
                    raise  # the server cuts the connection: the only way left to say so
                await internal_error(request_id)(scope, receive, response.send)
            finally:
                response.over()

    async def audit(self, scope: Scope, status: int, headers: Iterable[Header]) -> None:
        if (recording := self._audit(scope, status, headers)) is not None:
            await recording


class _Response:
    """One request's, on its way out."""

    __slots__ = ("_began", "_edge", "_id", "_scope", "_send", "_streams", "status")

    def __init__(self, edge: Edge, scope: Scope, send: Send, request_id: str) -> None:
        self.status = 0  # until it has begun
        self._began = time.perf_counter()
        self._edge, self._scope, self._send, self._id = edge, scope, send, request_id
        self._streams = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        await self._send(message)

    async def _begin(self, message: Message) -> None:
        scope, headers = self._scope, message.get("headers", ())
        self.status = message["status"]
        if self.status == 200 and _template(scope) in STREAMS:
            self._streams = True
            self._edge.stream(1)
        await self._edge.audit(scope, self.status, headers)
        added = [(b"x-request-id", self._id.encode()), *SECURITY]
        message["headers"] = _secured(headers, added)
        if "limited" in scope["state"]:
            message["headers"] += scope["state"]["limited"].headers()

    def over(self) -> None:
        """Count it and log its line."""
        method, path = self._scope["method"], _template(self._scope)
        status = self.status or CLIENT_LEFT
        self._edge.count(method, path, status)
        if self._streams:
            self._edge.stream(-1)
        if "limited" in self._scope["state"]:
            self._scope["state"]["limited"].over()
        ms = round((time.perf_counter() - self._began) * 1000, 2)
        log.info("request", method=method, path=path, status=status, ms=ms)


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


def request_id_of(headers: Iterable[Header]) -> str:
    """The caller's own id where it is harmless, else a new one."""
    for name, value in headers:
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
