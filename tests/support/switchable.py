"""Encoders in this process that are away, hang or are busy where a test tells them to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.chat.model import Vector
from app.errors import EncoderUnavailable
from tests.support.encoder import HashEncoder


class Switchable(HashEncoder):
    """An encoder that is away, hangs or is busy where told to."""

    def __init__(self, name: str = "hash-384") -> None:
        self.name = name  # type: ignore[misc]
        self.up = True
        self.hangs = False
        self.reason: str | None = None
        self.retry_after: float | None = None
        self.asked = 0
        self.pinged = asyncio.Event()

    async def embed_query(self, text: str) -> Vector:
        self.asked += 1
        await self._respond()
        return await super().embed_query(text)

    async def ping(self) -> None:
        self.pinged.set()
        await self._respond()

    async def introduce(self) -> None:
        await self.ping()

    async def aclose(self) -> None:
        pass

    async def _respond(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.up:
            raise EncoderUnavailable(self.reason, retry_after=self.retry_after)


class Local:
    """Starts a local encoder, once it may, after it has failed so often; remembers whether it was
    stopped."""

    def __init__(self, name: str = "hash-384", failures: int = 0) -> None:
        self.encoder = Switchable(name)
        self.failures = failures
        self.may_start = asyncio.Event()
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Switchable]:
        await self.may_start.wait()
        if self.failures:
            self.failures -= 1
            raise EncoderUnavailable
        try:
            self.started.set()
            yield self.encoder
        finally:
            self.stopped.set()
