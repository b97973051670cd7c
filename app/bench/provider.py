"""A language model's server that costs next to nothing, in a process of its own.

`provider`. It speaks OpenAI's chat stream on a port of 127.0.0.1, which it prints as a line of
JSON. A model's name says how it answers: `paced-40-5-256` says its first token after 40 ms and one
more every 5 ms, 256 in all; with `paced-0-0-256` they come as fast as they are taken, a few at a
time, as they do from a vendor that is faster than its reader. With `held-…` all but the first token
wait until they are let go. Lines of JSON on standard input: `{"held": 64}` is answered once so many
answers are held, `{"release": true}` lets them go, spread over the time of a token.
"""

import asyncio
import re
import sys
from typing import Any, cast

import orjson
import uvloop

MODEL = re.compile(r"(paced|held)-(\d+)-(\d+)-(\d+)")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
# Of one write at full speed. One token each would measure this process's system calls.
AT_ONCE = 16
WORDS = (
    "the", "projects", "that", "were", "finished", "last", "year", "used", "a", "smaller", "team",
    "than", "planned", "and", "so",
)  # fmt: skip
CITED_EVERY = 32  # words


class Provider:
    """What the connections share: the calls that are held."""

    def __init__(self) -> None:
        self.held: list[Connection] = []
        self.enough = asyncio.Event()
        self.wanted = 0

    def hold(self, connection: "Connection") -> None:
        self.held.append(connection)
        if len(self.held) >= self.wanted:
            self.enough.set()

    async def wait(self, count: int) -> int:
        """Until so many are held."""
        self.wanted = count
        if len(self.held) < count:
            self.enough.clear()
            await self.enough.wait()
        return len(self.held)

    def release(self) -> int:
        held, self.held = self.held, []
        for number, connection in enumerate(held):
            connection.go_on(number / len(held))
        return len(held)


class Connection(asyncio.Protocol):
    """Answers one request after the other, without a task."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._timer: asyncio.Handle | None = None
        self._pace = self._due = 0.0
        self._tokens = self._sent = 0
        self._writable = True
        self._answering = self._held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self in self._provider.held:
            self._provider.held.remove(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._answering and not (self._held or self._pace):
            self._write_some()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head):
            return
        self._received.clear()  # nobody sends the next request before the answer
        asked = MODEL.fullmatch(orjson.loads(body).get("model", ""))
        if asked is None:
            self._transport.write(REFUSED)
            return
        kind, first, pace, tokens = asked.groups()
        self._held, self._pace = kind == "held", int(pace) / 1000
        self._tokens, self._sent = int(tokens), 0
        self._answering = True
        self._timer = self._loop.call_later(int(first) / 1000, self._begin)

    def go_on(self, share: float = 1.0) -> None:
        """Send the rest, with the next token after a share of the time between two."""
        self._held = False
        self._due = self._loop.time() + self._pace * share
        if self._pace:
            self._timer = self._loop.call_at(self._due, self._write_one)
        else:
            self._write_some()

    def _begin(self) -> None:
        """The first token comes alone, as everybody's does."""
        self._sent = 1
        self._transport.write(HEAD + TOKENS[0])
        if self._tokens == 1:
            self._end()
        elif self._held:
            self._provider.hold(self)
        else:
            self.go_on()

    def _write_one(self) -> None:
        """A token at its time, which does not move when one was late."""
        self._transport.write(TOKENS[self._sent % len(TOKENS)])
        self._sent += 1
        if self._sent >= self._tokens:
            self._end()
            return
        self._due += self._pace
        self._timer = self._loop.call_at(self._due, self._write_one)

    def _write_some(self) -> None:
        """A few tokens, and the next few when the others have had their turn."""
        if not self._writable:
            return
        start, self._sent = self._sent, min(self._sent + AT_ONCE, self._tokens)
        self._transport.write(b"".join(TOKENS[n % len(TOKENS)] for n in range(start, self._sent)))
        if self._sent >= self._tokens:
            self._end()
        else:
            self._timer = self._loop.call_soon(self._write_some)

    def _end(self) -> None:
        self._answering = False
        usage = {"prompt_tokens": 1000, "completion_tokens": self._tokens, "total_tokens": 0}
        usage["total_tokens"] = usage["prompt_tokens"] + self._tokens
        self._transport.write(
            chunk(event([choice({}, "stop")]))
            + chunk(event([], usage=usage))
            + chunk(b"data: [DONE]\n\n")
            + b"0\r\n\r\n"
        )


def choice(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    """One event of an answer, with all that OpenAI's have."""
    fields = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": choices,
    }
    return b"data: %b\n\n" % orjson.dumps({**fields, **more})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def content_length(head: bytes | bytearray) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _token(number: int) -> bytes:
    word = " [1]" if number % CITED_EVERY == 0 else f" {WORDS[(number - 1) % len(WORDS)]}"
    return chunk(event([choice({"content": word})]))


TOKENS = [_token(number) for number in range(1, 1 + CITED_EVERY * len(WORDS))]


async def _serve() -> None:
    provider, loop = Provider(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(provider), "127.0.0.1", 0, backlog=2048)
    _say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        task = orjson.loads(line)
        if "held" in task:
            _say({"held": await provider.wait(task["held"])})
        else:
            _say({"released": provider.release()})
    server.close()


def _say(outcome: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Serve until standard input ends."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
