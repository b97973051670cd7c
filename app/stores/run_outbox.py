"""What this process's runs have said, written to Redis for readers on other processes.

What is new of all runs goes there every 50 ms, many tokens in one entry of a run's stream; the
run's own readers never wait for that. An entry has the number of its last frame, and the last entry
says that it is. While a run goes on its stream lives a few seconds longer than its owner's last
beat, so that a stream that is gone means an owner that is gone; after the end it lives for ten
minutes.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from redis.exceptions import RedisError

from app.chat.model import Scope
from app.chat.run import Run
from app.stores.patience import Patience
from app.stores.redis_line import Command
from app.stores.redis_servers import Servers

COALESCE_SECONDS = 0.05
BEAT_SECONDS = 1.0
ALIVE_SECONDS = 5
KEPT_SECONDS = 600
WRITE_SECONDS = 0.5
# Redis may be late without being away: only after this are finished runs given up.
PATIENCE_SECONDS = 3.0


@dataclass(eq=False, slots=True)
class _Written:
    """How far a run was written. `ended` is there where somebody waits for its end."""

    run: Run
    key: str
    began: float
    passed: int = 0
    ended: asyncio.Future[None] | None = None


class RunOutbox:
    """The runs that are written to one server: those of a cluster have one each, so that one that
    is away holds up nothing but its own. Close with `aclose()`."""

    def __init__(self, servers: Servers, beaten: Callable[[Run], None]) -> None:
        """`beaten` is told of every run that is written of, at least every second."""
        self._servers = servers
        self._tell_beaten = beaten
        # By the runs themselves, which each token looks up: a UUID has no hash at hand.
        self._running: dict[Run, _Written] = {}
        self._by_id: dict[UUID, _Written] = {}
        self._new: dict[Run, _Written] = {}  # of which something has not been passed on
        self._beaten: dict[Run, float] = {}  # the one that was longest ago first
        self._changed = asyncio.Event()
        self._publishing = asyncio.create_task(self._publish(), name="run streams")

    def __len__(self) -> int:
        """How many runs have not come to their end here."""
        return len(self._running)

    def __contains__(self, run: Run) -> bool:
        return run in self._running

    async def aclose(self) -> None:
        """Pass on what is left, and stop."""
        self._publishing.cancel()
        await asyncio.gather(self._publishing, return_exceptions=True)
        try:
            async with Patience(WRITE_SECONDS):
                await self._pass_on()
        except (RedisError, OSError, TimeoutError):
            pass

    def changed(self, run: Run) -> None:
        """Pass on what is new of it, soon."""
        written = self._running.get(run)
        if written is None:
            written = _Written(run, stream_key(run.scope, run.id), time.monotonic())
            self._running[run] = self._by_id[run.id] = written
        self._new[run] = written
        self._changed.set()

    async def ended(self, run_id: UUID) -> None:
        """Wait until a run's end is there for others to read, or Redis is away."""
        written = self._by_id.get(run_id)
        if written is not None:
            if written.ended is None:
                written.ended = asyncio.get_running_loop().create_future()
            await asyncio.wait({written.ended})

    async def _publish(self) -> None:
        away_since: float | None = None
        while True:
            try:
                async with asyncio.timeout(BEAT_SECONDS if self._running else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                async with Patience(WRITE_SECONDS):
                    await self._pass_on()
                away_since = None
            except (RedisError, OSError, TimeoutError):
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_SECONDS:
                    self._forget_finished()
                await asyncio.sleep(BEAT_SECONDS)  # what there is is passed on later
            await asyncio.sleep(COALESCE_SECONDS)

    async def _pass_on(self) -> None:
        """Write what is new of every run, and that it is alive, in one round trip. Runs that are
        silent cost nothing between two beats, however many they are."""
        now = time.monotonic()
        new, self._new = self._new, {}
        for run in new:
            run.tell_again()
        told = self._to_be_told(new, now)
        passed: dict[_Written, int] = {}
        try:
            commands: list[Command] = []
            for written in {**told, **self._due(now)}.values():
                commands += self._commands(written, now, passed)
            if commands:
                await self._servers.ask(*commands)
        except BaseException:
            self._new = {**told, **self._new}
            for run in told:  # nobody knows what the stream's life is now
                self._beaten.pop(run, None)
            raise
        for written, number in passed.items():
            written.passed = number
            written.run.passed_on(number)
        for run in told:
            if run.finished and run not in self._new:
                self._forget(run)

    def _to_be_told(self, new: dict[Run, _Written], now: float) -> dict[Run, _Written]:
        """Those of the new that somebody may read elsewhere. One that is over before anybody had
        an event of it is told from what is stored, and one that has just begun may soon be."""
        told: dict[Run, _Written] = {}
        for run, written in new.items():
            if run.is_unseen and run.finished:
                self._forget(run)
            elif run.is_unseen and now - written.began < COALESCE_SECONDS:
                self._new[run] = written
                self._changed.set()
            else:
                told[run] = written
        return told

    def _due(self, now: float) -> dict[Run, _Written]:
        """The runs that have to say that they are alive."""
        due: dict[Run, _Written] = {}
        for run, beaten in self._beaten.items():
            if now - beaten < BEAT_SECONDS:
                break
            due[run] = self._running[run]
        return due

    def _commands(
        self, written: _Written, now: float, passed: dict[_Written, int]
    ) -> Iterator[Command]:
        run, key = written.run, written.key
        if frames := run.frames_from(written.passed):
            passed[written] = written.passed + len(frames)
            end = b"1" if run.finished else b"0"
            fields = ("last", passed[written], "frames", b"".join(frames), "end", end)
            yield ("XADD", key, "*", *fields)
        if run.finished or now - self._beaten.get(run, -math.inf) >= BEAT_SECONDS:
            yield ("EXPIRE", key, KEPT_SECONDS if run.finished else ALIVE_SECONDS)
            self._beaten.pop(run, None)
            self._beaten[run] = now
            self._tell_beaten(run)

    def _forget_finished(self) -> None:
        """While Redis is away: what is over is told from what is stored, and must not pile up."""
        for run in list(self._running):
            if run.finished:
                self._forget(run)

    def _forget(self, run: Run) -> None:
        written = self._running.pop(run, None)
        self._new.pop(run, None)
        self._beaten.pop(run, None)
        if written is not None:
            if self._by_id.get(run.id) is written:  # a request sent again may have begun it anew
                del self._by_id[run.id]
            if written.ended is not None:
                written.ended.set_result(None)


def stream_key(scope: Scope, run_id: UUID) -> str:
    return f"run:{{{scope.tenant_id}}}:{run_id}"
