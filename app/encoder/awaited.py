"""An encoder from before anybody knows what it hosts.

The service may be started before its encoder. Whose vectors that one gives is known from its first
answer; until then it is asked in the background, and a local one stands in where it can be
started. Nothing that has a name ever changes it: where the encoder turns out to host another model
than the local one, the local one is gone with its name.
"""

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog

from app.encoder.standby import ASK_SECONDS, Service, StandbyEncoder, StartLocal, stand_in
from app.errors import AppError, EncoderUnavailable

log = structlog.get_logger(__name__)

# A start waits this long for the first answer; an encoder that is there takes milliseconds.
FIRST_SECONDS = 1.5


class Newcomer(Service, Protocol):
    """An encoder whose name and dimension are known once `introduce` has returned."""

    async def introduce(self) -> None: ...

    async def aclose(self) -> None: ...


class AwaitedEncoder:
    """`encoder` is what can be asked by its name just now. `start` it, and close it at the end."""

    def __init__(self, service: Newcomer, start_local: StartLocal | None) -> None:
        self._service = service
        self._start_local = start_local
        self._encoder: StandbyEncoder | None = None
        self._known = False
        self._reason = ""
        self._tried = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None
        self._standing_in: asyncio.Task[None] | None = None

    @property
    def encoder(self) -> StandbyEncoder | None:
        """The encoder, or a local one until it has answered for the first time; None without."""
        return self._encoder

    @property
    def is_known(self) -> bool:
        """Whether the encoder has answered, so that its name will not be another one."""
        return self._known

    @property
    def is_available(self) -> bool:
        """Whether a text can be encoded now."""
        return self._encoder is not None and self._encoder.is_available

    async def start(self) -> None:
        """Return when the encoder is known, or when it is clear that it will take a while."""
        self._waiting = asyncio.create_task(self._wait(), name="waiting for the encoder")
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await self._tried.wait()

    async def ping(self) -> None:
        """Raise EncoderUnavailable unless something answers."""
        if self._encoder is None:
            raise EncoderUnavailable(self._reason or None)
        await self._encoder.ping()

    async def aclose(self) -> None:
        """Stop waiting, the local encoder, and the connections."""
        tasks = [task for task in (self._waiting, self._standing_in) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._encoder is not None:
            await self._encoder.aclose()
        await self._service.aclose()

    async def _wait(self) -> None:
        while not await self._introduced():
            self._tried.set()
            await asyncio.sleep(ASK_SECONDS)
        log.info("encoder connected", name=self._service.name)
        self._encoder = StandbyEncoder(self._service, self._start_local)
        self._known = True
        self._tried.set()
        if self._standing_in is not None:
            self._standing_in.cancel()
            await asyncio.wait({self._standing_in})

    async def _introduced(self) -> bool:
        try:
            await self._service.introduce()
        except AppError as error:
            if error.message != self._reason:
                log.warning("encoder not there yet", reason=error.message)
            self._reason = error.message
            # With a time to wait it is there and still loads its model.
            if error.retry_after is None and self._standing_in is None:
                standing_in = stand_in(self._start_local, self._lend)
                self._standing_in = asyncio.create_task(standing_in, name="local encoder")
            return False
        return True

    async def _lend(self, service: Service) -> None:
        """Let it be the encoder until that has come."""
        log.info("local encoder stands in", name=service.name)
        local = self._encoder = StandbyEncoder(service, None)
        try:
            await asyncio.Event().wait()
        finally:
            if self._encoder is local:
                self._encoder = None
            await local.aclose()
