"""Several processes that serve one address: started, replaced when they end, ended together.

Their parent holds the listening socket and serves nobody. So it stays small, connections wait in
the socket while a process is replaced, and a process that hangs is given no more of them.
"""

import asyncio
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.commands.worker import AT_ONCE, FAILED, READY, Start
from app.shares import Shares

log = structlog.get_logger(__name__)

# Of processes that were asked to stop: one may not have listened to signals yet.
IN_ORDER = (0, -signal.SIGTERM, -signal.SIGINT)


class WorkersFailed(Exception):
    """The processes do not serve, or did not end in order; the message says why."""


@dataclass(frozen=True, slots=True)
class Patience:
    """With processes that end by themselves, and that do not end, in seconds.

    A replacement comes at once, but after a pause where the former one was not `steady` for so
    long; the pause doubles up to the `longest`. After so many `tries` with nobody else who serves,
    whoever has started the service is told. A process that is to stop has until the `end`.
    """

    end: float
    steady: float = 10.0
    pause: float = 0.5
    longest: float = 5.0
    tries: int = 5

    def before_next(self, in_vain: int) -> float:
        """The pause after so many in a row that were not steady."""
        return min(self.pause * 2 ** (in_vain - 1), self.longest) if in_vain else 0.0


@dataclass(eq=False, slots=True)
class Worker:
    """One process, and what it has said of itself."""

    process: Process
    was_ready: bool = False
    failure: str = ""

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def at_once(self) -> None:
        """Let it drain no longer."""
        if (pipe := self.process.stdin) is not None and not pipe.is_closing():
            pipe.write(AT_ONCE)


@dataclass(frozen=True, slots=True)
class End:
    """Of a process: why, as a sentence, and whether it had been ready."""

    why: str
    in_order: bool = False
    was_ready: bool = False


def end_of(worker: Worker, status: int) -> End:
    """What it told before it ended, or else its exit status."""
    if worker.failure:
        why = worker.failure
    elif status < 0:
        why = f"Worker process {worker.process.pid} was ended by {signal.Signals(-status).name}."
    else:
        why = f"Worker process {worker.process.pid} ended with status {status}; the log says why."
    return End(why, status in IN_ORDER, worker.was_ready)


class Workers:
    """`count` processes of `start`'s on the socket, and their shares of it."""

    def __init__(
        self,
        count: int,
        start: Start,
        listener: socket.socket,
        shares: Shares,
        say: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._count = count
        self._start = start
        self._listener = listener
        self._shares = shares
        self._say = say
        self._patience = patience
        self._alive: set[Worker] = set()
        self._first_is_ready = asyncio.Event()
        self._complete = False
        self._stopping = asyncio.Event()
        self._failure = ""

    async def run(self) -> None:
        """Serve until `stop`. Raises WorkersFailed where nobody serves, or somebody did not end
        in order."""
        killing = asyncio.create_task(self._kill_late())
        try:
            async with asyncio.TaskGroup() as group:
                # It goes ahead: what keeps it from serving would keep all.
                group.create_task(self._keep(0, first=True))
                await self._first_is_ready.wait()
                for slot in range(1, self._count):
                    group.create_task(self._keep(slot))
        finally:
            killing.cancel()
        if self._failure:
            raise WorkersFailed(self._failure)

    def stop(self) -> None:
        """Let all drain; a second call closes at once."""
        if self._stopping.is_set():
            for worker in self._alive:
                worker.at_once()
            return
        self._stopping.set()
        self._first_is_ready.set()  # not waited for any longer
        self._listener.close()
        for worker in self._alive:
            worker.send(signal.SIGTERM)

    async def _keep(self, slot: int, *, first: bool = False) -> None:
        """Have a process, and another one when it ends, until `stop`."""
        now = asyncio.get_running_loop().time
        in_vain = 0
        while not self._stopping.is_set():
            began = now()
            end = await self._one(slot, first)
            self._shares.leave(slot)  # what it cannot say itself where it was killed
            if self._stopping.is_set():
                if not end.in_order:
                    self._failure = self._failure or end.why
                return
            in_vain = 0 if now() - began >= self._patience.steady else in_vain + 1
            if self._hopeless(in_vain) or (first and not end.was_ready):
                self._failure = end.why
                self.stop()
                return
            first = False
            pause_seconds = self._patience.before_next(in_vain)
            log.error("worker ended", reason=end.why, pause_seconds=pause_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_seconds)

    async def _one(self, slot: int, first: bool) -> End:
        """A process from its start to its end."""
        try:
            worker = Worker(await self._start(slot, first))
        except OSError as error:
            return End(f"A worker process cannot be started: {error.strerror}.")
        self._alive.add(worker)
        if self._stopping.is_set():  # while it was being started
            worker.send(signal.SIGTERM)
        status = await self._listen(worker)
        self._alive.discard(worker)
        return end_of(worker, status)

    async def _listen(self, worker: Worker) -> int:
        """Take what it says until it ends; its exit status."""
        assert worker.process.stdout is not None  # noqa: S101 — a pipe, by `starter`
        async for line in worker.process.stdout:
            word, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
            self._hear(worker, word, text)
        return await worker.process.wait()

    def _hear(self, worker: Worker, word: str, text: str) -> None:
        if word == FAILED:
            worker.failure = text
        elif word != READY:
            self._say(text)
        else:
            worker.was_ready = True
            log.info("worker ready", pid=worker.process.pid)
            self._first_is_ready.set()
            if not self._complete and self._serving() == self._count:
                self._complete = True
                self._say(text)

    def _serving(self) -> int:
        return sum(worker.was_ready for worker in self._alive)

    def _hopeless(self, in_vain: int) -> bool:
        return in_vain >= self._patience.tries and not (self._complete and self._serving())

    async def _kill_late(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._patience.end)
        for worker in self._alive:
            worker.send(signal.SIGKILL)
