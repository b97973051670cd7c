"""HTTP/1.1 over one kept connection, one request after the other."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; header names are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def reason_phrase(self) -> str:
        """The status in words; nothing for one that is not in the standard."""
        try:
            return HTTPStatus(self.status_code).phrase
        except ValueError:
            return ""

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


class Link(asyncio.Protocol):
    """A connection. It is lent again after a whole answer only: after anything else, a cancelled
    request above all, it is closed, so that nobody ever reads an answer to another's question.

    `lost` is told when it is gone. httptools calls the `on_…` methods.
    """

    def __init__(self, lost: Callable[["Link"], None]) -> None:
        self._lost = lost
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._answer: asyncio.Future[Response] | None = None
        self._in_body = False
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the next request can be sent."""
        return not self._closed

    async def ask(self, request: bytes) -> Response:
        """The answer to a request's bytes. Raises ConnectionError."""
        if self._closed:
            raise ConnectionResetError("The connection was closed.")
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._in_body = False
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        self._closed = True
        self._transport.abort()

    async def wait_closed(self) -> None:
        await self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        if self._in_body and not self._is_framed() and error is None:
            self._complete()  # the end of the connection is that of the answer
        self._fail(error)
        self._gone.set_result(None)
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(error)

    def on_message_begin(self) -> None:
        self._closed = self._closed or self._answer is None or self._answer.done()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_body = self._parser.get_status_code() >= 200  # the others are news on the way

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._in_body:
            self._headers.clear()
            return
        self._closed = self._closed or not self._parser.should_keep_alive()
        self._complete()

    def _is_framed(self) -> bool:
        """Whether the head has said how the answer ends."""
        encoding = self._headers.get("transfer-encoding", "").lower()
        return "content-length" in self._headers or "chunked" in encoding

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            status, content = self._parser.get_status_code(), b"".join(self._body)
            self._answer.set_result(Response(status, self._headers, content))
        self._in_body = False

    def _fail(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            lost = ConnectionResetError("The answer did not come whole.")
            lost.__cause__ = error
            self._answer.set_exception(lost)
