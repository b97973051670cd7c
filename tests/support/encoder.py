"""Encoders for tests: one without a model, one of real processes, one that does as it is told."""

import asyncio
import hashlib
import json
import math
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app.chat.model import Vector
from app.errors import InvalidInput


class HashEncoder:
    """`app.chat.ports.Encoder` without a model: a bag of hashed words, the same on every machine.

    Texts that share words are near each other; nothing is known of meaning.
    """

    name = "hash-384"
    dimension = 384
    languages = ("*",)

    async def embed_query(self, text: str) -> Vector:
        return self._embed(text)

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> Vector:
        if not text:
            raise InvalidInput("The text is empty.")
        vector = [0.0] * self.dimension
        for word in re.findall(r"\w+", text.casefold()) or [text]:
            digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=4).digest()
            # Signs would let words cancel each other; a small vocabulary rarely collides.
            vector[int.from_bytes(digest, "big") % self.dimension] += 1.0
        norm = math.hypot(*vector)
        return [number / norm for number in vector]


def cosine(left: Vector, right: Vector) -> float:
    """Of two vectors of length 1."""
    return sum(a * b for a, b in zip(left, right, strict=True))


@asynccontextmanager
async def encoder_process(
    *options: str, wait: bool = True, **popen: Any
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A `citestream encoder` process, on torch unless the options say otherwise, and its URL once
    it is ready. Killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli",
        "encoder",
        "--backend",
        "torch",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **popen,
    )
    try:
        url = ""
        if wait:
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            found = re.search(r"ready on (\S+)", line)
            assert found, f"{line!r} {await process.communicate()}"
            url = found[1]
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


Reply = tuple[int, dict[str, Any], dict[str, str]]
Handler = Callable[[str, dict[str, Any]], Awaitable[Reply | None]]


@asynccontextmanager
async def scripted_server(handler: Handler) -> AsyncIterator[str]:
    """A server whose answers are `handler(path, body)`: status, JSON and headers; None hangs up.
    Yields its URL."""

    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            connections.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                reply = await handler(path, json.loads(body or b"{}"))
                if reply is None:
                    return
                status, fields, headers = reply
                content = json.dumps(fields).encode()
                lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
