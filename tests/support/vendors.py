"""A local server that speaks OpenAI's and Mistral's stream formats, and fails as told.

Real sockets, so the vendors' own SDKs run against it unchanged:

    async with VendorServer() as vendor:
        vendor.script = Script(tokens=["Hello", " world"], fault="reset", fault_after=1)
        …                                   # a client at vendor.openai_url or vendor.mistral_url
        vendor.requests[0].body["model"]
        await vendor.requests[0].gone.wait()  # the client left before the end

Nothing sleeps: a stream that must wait does so at a gate, an event the test sets.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

Fault = Literal["reset", "eof", "error", "hang", "garbage"]


@dataclass(frozen=True)
class Script:
    """How one request is answered.

    `tokens`: the deltas, or a function of the request's JSON body that gives them.
    `gates[i]`: awaited before token i is sent; `gates[len(tokens)]` before the finish, and the
    one after that between the finish and what follows it.
    `status`: an HTTP status to answer with instead of a stream, with `retry_after`.
    `refuses`: request fields that are answered by a 400 that names them.
    `fault`: what happens after `fault_after` tokens: the connection is reset, ends without a
    finish ("eof"), carries an error object, hangs until the client leaves, or sends no JSON.
    With `before_headers` the fault comes before any byte of the response.
    `usage`: (prompt, completion) tokens, None for a server that does not count.
    """

    tokens: Sequence[str] | Callable[[dict[str, Any]], Sequence[str]] = ("Hello", ", ", "world.")
    finish_reason: str | None = "stop"
    usage: tuple[int, int] | None = (12, 3)
    gates: Mapping[int, asyncio.Event] = field(default_factory=dict)
    status: int = 200
    retry_after: str | None = None
    location: str | None = None
    content_type: str = "text/event-stream"
    refuses: Sequence[str] = ()
    fault: Fault | None = None
    fault_after: int = 0
    before_headers: bool = False
    newline: str = "\n"
    keep_alives: bool = False
    done_marker: bool = True


@dataclass
class Received:
    """A request as it arrived. `sent` counts the tokens written so far; `gone` is set when the
    client leaves before the response is complete, `finished` when the server is done with it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    sent: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def vendor(self) -> str:
        return "mistral" if self.path.startswith("/mistral") else "openai"


class VendorServer:
    """Listens on a free port of 127.0.0.1 while entered.

    Each request takes the next of `scripts`, or `script` when there is none left.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.scripts: list[Script] = []
        self.requests: list[Received] = []
        self.connections = 0
        self.arrived = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "VendorServer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """For OPENAI_BASE_URL."""
        return f"{self.url}/openai/v1"

    @property
    def mistral_url(self) -> str:
        """For MISTRAL_SERVER_URL."""
        return f"{self.url}/mistral"

    async def wait_for(self, count: int) -> Received:
        """The `count`th request (from 1), once it has arrived."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        connection = self.connections
        try:
            while await self._serve(reader, writer, connection):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        """Answer one request; False when the connection is not to be used again."""
        received = await read_request(reader, connection)
        if received is None:
            return False
        script = self.scripts.pop(0) if self.scripts else self.script
        async with self.arrived:
            self.requests.append(received)
            self.arrived.notify_all()
        watch = asyncio.create_task(notice_leaving(reader, received))
        answer = asyncio.create_task(Answer(received, script, writer).run())
        try:
            await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
            return answer.done() and answer.result()
        except ConnectionError:
            received.gone.set()
            return False
        finally:
            for task in (watch, answer):
                task.cancel()
            await asyncio.gather(watch, answer, return_exceptions=True)
            received.finished.set()


async def read_request(reader: asyncio.StreamReader, connection: int) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(raw or b"{}"), connection)


async def notice_leaving(reader: asyncio.StreamReader, received: Received) -> None:
    """Return once the client has closed its side; clients here never pipeline."""
    with suppress(ConnectionError):
        await reader.read(1)
    received.gone.set()


class Answer:
    """Writes one response by its script."""

    def __init__(self, received: Received, script: Script, writer: asyncio.StreamWriter) -> None:
        self._received = received
        self._script = script
        self._writer = writer

    async def run(self) -> bool:
        """True when the response is complete and the connection may carry another."""
        script, body = self._script, self._received.body
        if script.before_headers:
            return await self._fail()
        for name in script.refuses:
            if name in body:
                message = f"Unsupported parameter: '{name}'"
                return await self._refuse(400, {"message": message, "param": name})
        if script.status != 200:
            return await self._refuse(script.status, {"message": self._secret_details()})
        return await self._stream()

    async def _refuse(self, status: int, error: dict[str, str]) -> bool:
        payload = json.dumps({"error": error}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(payload))}
        if self._script.retry_after is not None:
            headers["retry-after"] = self._script.retry_after
        if self._script.location is not None:
            headers["location"] = self._script.location
        self._head(status, headers)
        self._writer.write(payload)
        return True

    async def _stream(self) -> bool:
        script, body = self._script, self._received.body
        tokens = script.tokens(body) if callable(script.tokens) else script.tokens
        self._head(200, {"content-type": script.content_type, "transfer-encoding": "chunked"})
        await self._event(self._chunk({"role": "assistant", "content": ""}))
        for number, token in enumerate(tokens):
            if script.fault and number == script.fault_after:
                return await self._fail()
            if number in script.gates:
                await script.gates[number].wait()
            await self._event(self._chunk({"content": token}))
            self._received.sent += 1
        if script.fault:
            return await self._fail()
        if len(tokens) in script.gates:
            await script.gates[len(tokens)].wait()
        await self._finish(script.gates.get(len(tokens) + 1))
        self._write_chunk("")  # not drained: the next request may come at once
        return True

    async def _finish(self, gate: asyncio.Event | None) -> None:
        """The end as each vendor writes it: Mistral's usage comes with the reason, OpenAI's
        after it, without choices and only when asked for."""
        script = self._script
        usage = script.usage and {
            "prompt_tokens": script.usage[0],
            "completion_tokens": script.usage[1],
            "total_tokens": sum(script.usage),
        }
        if script.finish_reason and self._received.vendor == "mistral":
            last = self._chunk({"content": ""}, script.finish_reason)
            await self._event({**last, "usage": usage} if usage else last)
        elif script.finish_reason:
            await self._event(self._chunk({}, script.finish_reason))
        if gate:
            await gate.wait()
        asked = (self._received.body.get("stream_options") or {}).get("include_usage")
        if usage and asked and self._received.vendor == "openai":
            await self._event({**self._chunk({}), "choices": [], "usage": usage})
        if script.done_marker:
            await self._data("[DONE]")

    async def _fail(self) -> bool:
        fault = self._script.fault
        if fault == "hang":
            await asyncio.Event().wait()
        elif fault == "error":
            await self._event({"error": {"message": self._secret_details(), "code": 500}})
            await asyncio.Event().wait()
        elif fault == "garbage":
            await self._data("{no json")
            await asyncio.Event().wait()
        elif fault == "eof" and not self._script.before_headers:
            self._write_chunk("")
            return True
        elif fault == "reset":
            reset(self._writer)
        return False

    def _secret_details(self) -> str:
        """What vendors have said in their errors: the key itself, and what they were asked."""
        asked = [message["content"] for message in self._received.body.get("messages", ())]
        return f"scripted: secret details: {self._received.headers.get('authorization')} {asked}"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self._received.body.get("model"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }

    async def _event(self, event: dict[str, Any]) -> None:
        if self._script.keep_alives:
            self._write_chunk(f": keep-alive{self._script.newline * 2}")
        # Not ASCII-escaped, as several servers send it: U+2028 must survive.
        await self._data(json.dumps(event, ensure_ascii=False))

    async def _data(self, data: str) -> None:
        self._write_chunk(f"data: {data}{self._script.newline * 2}")
        await self._writer.drain()

    def _write_chunk(self, text: str) -> None:
        data = text.encode()
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, as a dying machine or proxy does."""
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def unused_url() -> str:
    """An address on which nobody listens: connecting is refused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
