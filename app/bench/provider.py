"""A language model's server that costs next to nothing, in a process of its own.

`provider`. It speaks OpenAI's chat stream on a port of 127.0.0.1, which it prints as a line of
JSON. A model's name says how it answers: `paced-40-5-256` says its first token after 40 ms and one
more every 5 ms, 256 in all; with `paced-0-0-256` they come as fast as they are taken, a few at a
time, as they do from a vendor that is faster than its reader. With `held-…` all but the first token
wait until they are let go. Lines of JSON on standard input: `{"held": 64}` is answered once so many
answers are held, `{"release": true}` lets them go, spread over the time of a token, and
`{"connections": true}` is answered with how many connections there have been.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
import uvloop

from app.bench.vendor import LAST_CHUNK, Answer, Connection, chunk

MODEL = re.compile(r"(paced|held)-(\d+)-(\d+)-(\d+)")
WORDS = (
    "the", "projects", "that", "were", "finished", "last", "year", "used", "a", "smaller", "team",
    "than", "planned", "and", "so",
)  # fmt: skip
CITED_EVERY = 32  # words
PROMPT_TOKENS = 1000


class Provider:
    """`app.bench.vendor.Vendor` with the calls that are held."""

    def __init__(self) -> None:
        self.connections = 0
        self._held: list[Connection] = []
        self._enough = asyncio.Event()
        self._wanted = 0

    def answer(self, body: dict[str, Any]) -> Answer | None:
        asked = MODEL.fullmatch(body.get("model", ""))
        if asked is None:
            return None
        kind, (first, pace, tokens) = asked[1], map(int, asked.groups()[1:])
        return Answer(
            *said(tokens), first=first / 1000, pace=lambda: pace / 1000, held=kind == "held"
        )

    def hold(self, connection: Connection) -> None:
        self._held.append(connection)
        if len(self._held) >= self._wanted:
            self._enough.set()

    def connected(self, connection: Connection) -> None:
        self.connections += 1

    def left(self, connection: Connection) -> None:
        if connection in self._held:
            self._held.remove(connection)

    async def wait(self, count: int) -> int:
        """Until so many are held."""
        self._wanted = count
        if len(self._held) < count:
            self._enough.clear()
            await self._enough.wait()
        return len(self._held)

    def release(self) -> int:
        held, self._held = self._held, []
        for number, connection in enumerate(held):
            connection.let_go(number / len(held))
        return len(held)


@lru_cache
def said(tokens: int) -> tuple[Sequence[bytes], bytes]:
    """The chunks of so many tokens, and those behind them."""
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
    usage["total_tokens"] = PROMPT_TOKENS + tokens
    end = (
        chunk(_event([_choice({}, "stop")]))
        + chunk(_event([], usage=usage))
        + chunk(b"data: [DONE]\n\n")
        + LAST_CHUNK
    )
    return [TOKENS[number % len(TOKENS)] for number in range(tokens)], end


def _choice(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
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


def _token(number: int) -> bytes:
    word = " [1]" if number % CITED_EVERY == 0 else f" {WORDS[(number - 1) % len(WORDS)]}"
    return chunk(_event([_choice({"content": word})]))


TOKENS = [_token(number) for number in range(1, 1 + CITED_EVERY * len(WORDS))]


async def _serve() -> None:
    provider, loop = Provider(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(provider), "127.0.0.1", 0, backlog=2048)
    _say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        task = orjson.loads(line)
        if "held" in task:
            _say({"held": await provider.wait(task["held"])})
        elif "connections" in task:
            _say({"connections": provider.connections})
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
