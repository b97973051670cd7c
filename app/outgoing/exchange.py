"""One request's answer over HTTP/1.1, as its bytes come in.

An exchange has a parser and a buffer of its own and is left behind when it is over, so nothing of
one answer can be read by whoever uses the connection next. httptools calls the `on_…` methods.
"""

import asyncio
from collections.abc import Callable

import httptools

# A vendor's head is 1 to 2 KB.
MAX_HEAD_BYTES = 64 * 1024
# Of a body that nobody reads, before the vendor is made to wait; what one read of the socket
# brings comes on top.
BUFFER_BYTES = 64 * 1024
# An alarm this close to the deadline is the deadline: event loops count in milliseconds.
CLOSE_SECONDS = 0.002


class Broken(Exception):
    """The connection failed before the answer was whole, or what came is no HTTP/1.1."""


class Exchange:
    """From a request that was sent to the end of its answer. `flow` stops the connection's reading
    and lets it go on; `over` is called once, by `close`."""

    __slots__ = (
        "_alarm", "_alarm_at", "_buffered", "_due", "_error", "_flow", "_framed", "_head_bytes",
        "_headed", "_late", "_loop", "_over", "_parser", "_paused", "_pieces", "_waiter",
        "complete", "headers", "keep_alive", "responded", "status",
    )  # fmt: skip

    def __init__(
        self, flow: Callable[[bool], None], over: Callable[["Exchange"], None] | None = None
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.responded = False  # a byte of an answer has come
        self.complete = False  # all of it has
        self.keep_alive = False
        self._flow = flow
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._headed = False
        self._framed = False  # the head says how the body ends
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._error: Broken | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0
        self._late = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    # What the reader calls.

    def until(self, due: float) -> None:
        """Wait no longer than this time of the loop's clock from now on.

        One timer does for a whole answer: it is set again when it goes off, not with each token.
        """
        self._due = due
        self._late = False
        if self._alarm is None or due < self._alarm_at:
            self._set_alarm()

    async def head(self) -> None:
        """Wait for the status and the headers. Raises Broken, TimeoutError."""
        while not self._headed:
            await self._wait()

    async def read(self) -> bytes:
        """What has come of the body since; empty at its end. Raises Broken, TimeoutError."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait()
        pieces, self._pieces = self._pieces, []
        self._buffered = 0
        if self._paused:
            self._paused = False
            self._flow(True)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def finish(self, limit: int) -> bytes:
        """The rest of a body that should be short; as much of it as came where it is longer than
        `limit` bytes, breaks or is late."""
        found = b""
        try:
            while len(found) <= limit and (piece := await self.read()):
                found += piece
        except (Broken, TimeoutError):
            pass
        return found

    def close(self) -> None:
        """Let go of the connection, which is closed unless the answer is whole. Never waits."""
        over, self._over = self._over, None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if over is not None:
            over(self)
        self._parser = None  # it knows us, and we it
        if not self.complete:
            self._error = self._error or Broken("It was closed.")

    # What the connection calls.

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        self.responded = True
        parser = self._parser
        if self.complete or parser is None:
            self.keep_alive = False  # nobody asked for more
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.keep_alive = False
            self.fail(error)
            return
        if not self._headed:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.fail(None)
        if self._buffered > BUFFER_BYTES and not (self._paused or self.complete):
            self._paused = True
            self._flow(False)
        self._wake()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone. That is the end of a body whose head told no other."""
        self.keep_alive = False
        if self._headed and not self._framed and error is None and self._error is None:
            self.complete = True
        self.fail(error)

    def fail(self, error: Exception | None) -> None:
        """Nothing more comes; what is here already can still be read."""
        if not self.complete and self._error is None:
            self._error = Broken("The answer ended before it was whole.")
            self._error.__cause__ = error
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.complete or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status >= 200:  # the others are news from the way
            self._headed = True
            encoding = self.headers.get("transfer-encoding", "")
            self._framed = "content-length" in self.headers or "chunked" in encoding.lower()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self._headed and self._parser is not None:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()
        else:
            self.headers.clear()

    # Waiting.

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        if self._late:
            raise TimeoutError
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._due
        self._alarm = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._due - self._loop.time() > CLOSE_SECONDS:
            self._set_alarm()
        else:
            self._late = True
            self._wake()
