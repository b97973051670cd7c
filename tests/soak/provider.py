"""A language model's server at the pace that a scenario sets, and what became of each call to it.

It speaks OpenAI's stream format on 127.0.0.1, inside the soak's process, over the same connections
as the benches' (`app.bench.vendor`).
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from app.bench.vendor import LAST_CHUNK, Answer, Connection, chunk, reset

__all__ = ["WORDS", "Call", "PacedProvider", "reset", "words_of"]

WORDS = 20


class Call(Answer):
    """One request for an answer. `closed` is set when its client has left or has all of it;
    `closed_at` says when, `finished` which of the two. Times are of `time.monotonic`."""

    def __init__(self, body: dict[str, Any], deltas: Sequence[str], cut: int | None) -> None:
        """`cut` is how many bytes of the body's text come before a reset."""
        model = body.get("model")
        events = [_event(model, {"content": each}) for each in deltas]
        end = _end(model, len(events))
        super().__init__([chunk(each) for each in events], chunk(end) + LAST_CHUNK)
        self.body = body
        self.question: str = body["messages"][-1]["content"]
        self.arrived = time.monotonic()
        self.finished = False
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        if cut is not None:
            self._cut([*events, end], cut)

    def over(self, *, whole: bool) -> None:
        self.finished = whole
        self.closed_at = time.monotonic()
        self.closed.set()

    def _cut(self, events: Sequence[bytes], left: int) -> None:
        """Where it is shorter than that, it goes on to its end."""
        for number, each in enumerate(events):
            if len(each) >= left:
                self.pieces, self.end, self.cut = self.pieces[:number], chunk(each[:left]), True
                return
            left -= len(each)


Reply = Callable[[dict[str, Any]], Sequence[str]]


def words_of(body: dict[str, Any]) -> Sequence[str]:
    """Twenty short words that only this question's answer has."""
    digest = hashlib.sha256(body["messages"][-1]["content"].encode()).hexdigest()[:8]
    return [f"{digest} ", *(f"word{number} " for number in range(1, WORDS))]


class PacedProvider:
    """Listens on a free port while entered. Everything that is public may be set at any time; a
    call in progress minds what concerns what it has still to send."""

    def __init__(self) -> None:
        self.first_token_seconds = 0.0
        self.token_seconds = 0.0
        self.reply: Reply = words_of
        # Of the body's text, after which the connection is reset; None: it goes on to its end.
        self.cut_after_bytes: int | None = None
        self.calls: list[Call] = []
        self.url = ""
        self._arrived = asyncio.Event()
        self._connections: set[Connection] = set()

    @property
    def open(self) -> int:
        """How many calls are being answered."""
        return sum(each.answer is not None for each in self._connections)

    async def arrived(self, count: int) -> None:
        """Wait until so many calls have come in all."""
        while len(self.calls) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", 0, backlog=2048
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.transport.abort()
        await asyncio.gather(*(each.gone for each in connections))
        await self._server.wait_closed()

    def answer(self, body: dict[str, Any]) -> Call:
        call = Call(body, self.reply(body), self.cut_after_bytes)
        call.first, call.pace = self.first_token_seconds, lambda: self.token_seconds
        self.calls.append(call)
        self._arrived.set()
        return call

    def hold(self, connection: Connection) -> None:
        """Nothing of these is held."""

    def connected(self, connection: Connection) -> None:
        self._connections.add(connection)

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)


def _event(model: str | None, delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _data({"model": model, "choices": [choice]})


def _end(model: str | None, tokens: int) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    return _event(model, {}, "stop") + _data({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def _data(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(event).encode()
