"""How long a request may take to arrive, and how large its head may be.

uvicorn bounds neither: a client that sends a byte now and then holds a connection for ever, and
the head grows in memory for as long as it is sent.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.encoder import wire

# A client opens a connection because it has something to send.
HEAD_SECONDS = 30.0
# Twice what common clients and proxies send at most.
MAX_HEAD_BYTES = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, refusing a head that comes too slowly (408) or is too large (431)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Between two requests; blank lines may come there, which no request begins with.
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._set_deadline()
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.",
                )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Of the next request, which began to arrive while this one was answered.
        if self._in_head and not self.transport.is_closing():
            self._set_deadline()

    def _set_deadline(self) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(
            HEAD_SECONDS,
            self._refuse,
            HTTPStatus.REQUEST_TIMEOUT,
            f"The request did not begin within {HEAD_SECONDS:g} s.",
        )

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._clear_deadline()
        # Not into the midst of an answer to an earlier request.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_answer(status, message))
        self.transport.close()


def _answer(status: HTTPStatus, message: str) -> bytes:
    body = wire.render_error(message, "invalid_request_error", None)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        "\r\n",
    )
    return "\r\n".join(head).encode() + body
