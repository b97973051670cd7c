"""What happens while the encoder service is away: a local one stands in, where one can be started.

The first request that finds the service gone opens a breaker: those behind it fail at once
(retrieval then goes on with keywords alone) instead of waiting in turn. In the background the
service is asked until it answers, and meanwhile a local encoder of the same model is started.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import structlog

from app.chat.model import Vector
from app.chat.ports import Encoder
from app.errors import AppError, EncoderUnavailable

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# How often the service is asked whether it is back.
ASK_SECONDS = 0.5
# A question waits no longer than this for its vector; a lone query takes 10 ms.
QUERY_SECONDS = 1.5
# A local encoder that could not be started (the one of another process was just ending, or there is
# no memory) is tried again, less and less often: each try may load a model in vain.
AGAIN_SECONDS, AGAIN_AT_MOST_SECONDS = 1.0, 60.0


class Service(Encoder, Protocol):
    """An encoder that can be asked whether it answers."""

    async def ping(self) -> None: ...


StartLocal = Callable[[], AbstractAsyncContextManager[Service]]
Use = Callable[[Service], Awaitable[None]]


async def stand_in(start_local: StartLocal | None, use: Use) -> None:
    """Start a local encoder, where there is a way, until one has come that `use` returns from."""
    pause = AGAIN_SECONDS
    while start_local is not None:
        try:
            async with start_local() as local:
                await use(local)
                return
        except AppError as error:
            log.warning("no local encoder", reason=error.message, again_in_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, AGAIN_AT_MOST_SECONDS)


class StandbyEncoder:
    """`app.chat.ports.Encoder` on a service, and on a local encoder while that is away.

    `start_local` starts one for as long as its context lasts; None where none is installed. A
    local encoder of another name is never used: its vectors would not be comparable.
    """

    def __init__(self, service: Service, start_local: StartLocal | None) -> None:
        self._service = service
        self._start_local = start_local
        self._local: Service | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reason: str | None = None  # why the service is not back

    @property
    def name(self) -> str:
        return self._service.name

    @property
    def dimension(self) -> int:
        return self._service.dimension

    @property
    def languages(self) -> Collection[str]:
        return self._service.languages

    @property
    def is_available(self) -> bool:
        """Whether a text can be encoded now, by the service or by the one standing in."""
        return not self._tasks or self._local is not None

    async def embed_query(self, text: str) -> Vector:
        async def embed(encoder: Service) -> Vector:
            async with asyncio.timeout(QUERY_SECONDS):
                return await encoder.embed_query(text)

        return await self._through(embed)

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return await self._through(lambda encoder: encoder.embed_documents(texts))

    async def ping(self) -> None:
        """Raise EncoderUnavailable unless something answers."""
        await self._through(lambda encoder: encoder.ping())

    async def aclose(self) -> None:
        """Stop looking for the service, and the local encoder."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _through(self, call: Callable[[Service], Awaitable[Result]]) -> Result:
        local = self._local
        try:
            if local is not None:
                return await call(local)
            if self._tasks:
                raise EncoderUnavailable(self._reason)
            return await call(self._service)
        except TimeoutError as error:
            self._away()
            raise EncoderUnavailable("The encoder did not answer in time.") from error
        except EncoderUnavailable as error:
            if error.retry_after is None:  # with it the service is there, only busy
                self._away()
            raise

    def _away(self) -> None:
        if self._tasks:
            return
        log.warning("encoder away", name=self.name, stand_in=self._start_local is not None)
        standing_in = asyncio.create_task(stand_in(self._start_local, self._use))
        asking = asyncio.create_task(self._until_back(standing_in))
        self._tasks = [standing_in, asking]

    async def _until_back(self, standing_in: "asyncio.Task[None]") -> None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                async with asyncio.timeout(QUERY_SECONDS):
                    await self._service.ping()
            except AppError as error:
                if error.message != self._reason:
                    log.warning("encoder not back", name=self.name, reason=error.message)
                self._reason = error.message
                continue
            except TimeoutError:
                continue
            break
        log.info("encoder back", name=self.name)
        self._reason = None
        self._local = None
        self._tasks = []
        standing_in.cancel()
        await asyncio.wait({standing_in})

    async def _use(self, local: Service) -> None:
        """Let it stand in until the service is back."""
        if local.name != self.name:
            log.warning("local encoder is another one", name=local.name)
            return
        log.info("local encoder stands in", name=local.name)
        self._local = local
        try:
            await asyncio.Event().wait()
        finally:
            self._local = None
