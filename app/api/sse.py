"""A run's events as Server-Sent Events: one `id:` and one `data:` line each, encoded once.

Bytes go straight to the server: an event object per token would cost 5 to 30 times that.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.departure import while_connected
from app.api.jsonbytes import dumps, loads
from app.api.revocation import Grant
from app.api.wire import done_json, source_json
from app.chat.elsewhere import AnyRun
from app.chat.events import Done, Event, Failed, Said, Sources, Start, Token
from app.chat.model import Citation, Passage, QueryComplexity, Usage
from app.chat.replay import failed
from app.errors import Unauthorized, named

# Proxies give up on a silent connection after 30 to 60 s.
HEARTBEAT_SECONDS = 15.0
# For a reader to take the event that ends his stream before its time. Who takes none is not waited
# for: he has no right to what he was sent before, either.
LAST_WORDS_SECONDS = 5.0
COMMENT = b":\n\n"
START = ("run_id", "conversation_id", "message_id")
USAGE = ("prompt_tokens", "completion_tokens", "estimated")
LINE_ENDS = tuple((end.encode(), b"\\u%04x" % ord(end)) for end in "\u0085\u2028\u2029")
FRAME = b"id: %d\ndata: %b\n\n"
TOKEN_FRAME = b'id: %d\ndata: {"type":"token","content":%b}\n\n'
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event_json(event: Event) -> dict[str, Any]:
    """The `data:` object of an event, as the contract has it."""
    match event:
        case Token(content):
            return {"type": "token", "content": content}
        case Start(run_id, conversation_id, message_id):
            return {
                "type": "start",
                "run_id": run_id,
                "conversation_id": conversation_id,
                "message_id": message_id,
            }
        case Sources(passages):
            return {"type": "sources", "sources": [source_json(passage) for passage in passages]}
        case Done():
            return {"type": "done", **done_json(event)}
        case Failed(code, message, retryable):
            return {"type": "error", "code": code, "message": message, "retryable": retryable}


def frame(number: int, said: Said) -> bytes:
    """One event's bytes. JSON escapes CR and LF, the only line ends that SSE knows; the others that
    Unicode has are escaped for clients that split at those as well, like `str.splitlines`."""
    if isinstance(said, str):  # a token, in half the time that an event takes
        form, data = TOKEN_FRAME, dumps(said)
    else:
        form, data = FRAME, dumps(event_json(said))
    if not data.isascii():
        for line_end, escaped in LINE_ENDS:
            data = data.replace(line_end, escaped)
    return form % (number, data)


def decode(encoded: bytes) -> Event:
    """The event of a frame. Of passages it has what a reader is told, without their texts."""
    told = loads(encoded.partition(b"\ndata: ")[2])
    match told.pop("type"):
        case "token":
            return Token(told["content"])
        case "start":
            return Start(*(UUID(told[name]) for name in START))
        case "sources":
            passages = told["sources"]
            return Sources([Passage(document_id=0, text="", start=0, end=0, **p) for p in passages])
        case "done":
            return _done(told)
    return Failed(**told, status=named(told["code"]).status)


def _done(told: dict[str, Any]) -> Done:
    usage = {name: told["usage"][name] for name in USAGE}
    changed = {
        **{name: UUID(told[name]) for name in START},
        "citations": [Citation(**citation) for citation in told["citations"]],
        "complexity": QueryComplexity(told["complexity"]),
        "usage": Usage(**usage),
    }
    return Done(**{**told, **changed})


class Frames(Protocol):
    """Frames of events, any number at a time; closing it is leaving. `position` is the number of
    the last event that it gave."""

    position: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


async def event_stream(
    receive: Receive, run: AnyRun, grant: Grant, after: int = 0
) -> "EventStream":
    """The response that follows a run while the grant lasts. Where the run has failed before its
    first event, raises that error: it is an HTTP status then. ClientDisconnect when the client
    leaves meanwhile."""
    frames = run.frames(after)
    try:
        if after == 0:
            await while_connected(receive, run.opening())
    except BaseException:
        await frames.aclose()
        raise
    return EventStream(frames, grant)


class EventStream(Response):
    """Streams the frames of a run as they come.

    A `:` comment goes out after every `heartbeat_seconds` of silence. Where the grant ends, an
    `error` takes the place of what would follow. Whatever ends the response, the frames are closed.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: Frames,
        grant: Grant | None = None,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._frames = frames
        self._grant = grant
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ClientDisconnect when the client leaves."""
        try:
            await while_connected(receive, self._stream(send))
        finally:
            await self._frames.aclose()

    async def _stream(self, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        heart = _Heart(send, self._heartbeat_seconds)
        ended: Unauthorized | None = None
        try:
            passing = self._pass_on(send, heart)
            await (passing if self._grant is None else self._grant.during(passing))
        except Unauthorized as error:
            ended = error
        finally:
            await heart.stop()
        if ended is not None:
            await self._break_off(send, ended)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, send: Send, heart: "_Heart") -> None:
        loop = asyncio.get_running_loop()
        async for frames in self._frames:
            await send({"type": "http.response.body", "body": frames, "more_body": True})
            heart.sent = loop.time()

    async def _break_off(self, send: Send, error: Unauthorized) -> None:
        await self._frames.aclose()
        body = frame(self._frames.position + 1, failed(error))
        message = {"type": "http.response.body", "body": body, "more_body": True}
        try:
            await asyncio.wait_for(send(message), LAST_WORDS_SECONDS)
        except TimeoutError:
            raise ClientDisconnect from None


class _Heart:
    """Sends a comment after so much silence. A timer, not a task: most streams never need one."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.sent = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)
        self._beating: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """No comment goes out from here on."""
        self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    def _look(self) -> None:
        silent = self._loop.time() - self.sent
        if silent >= self._seconds:
            silent = 0.0
            # One that the client has not taken is enough.
            if self._beating is None or self._beating.done():
                self._beating = asyncio.create_task(self._beat())
        self._timer = self._loop.call_later(self._seconds - silent, self._look)

    async def _beat(self) -> None:
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        self.sent = self._loop.time()
