"""Runs' frames in Redis Streams, for readers on other processes; and what these tell the owner.

The producing process writes what is new of its runs every 50 ms, many tokens in one entry; its own
readers never wait for that. An entry has the number of its last frame, and the last entry says that
it is. While a run goes on its stream lives a few seconds longer than its owner's last beat, so that
a stream that is gone means an owner that is gone; after the end it lives for ten minutes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from app.chat.elsewhere import AWAY, Passed, RunLost
from app.chat.model import Scope
from app.chat.run import Run
from app.errors import EventsGone, Unavailable
from app.stores.patience import Patience
from app.stores.redis_client import open_redis
from app.stores.redis_line import Command, RedisLine

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.05
BEAT_SECONDS = 1.0
ALIVE_SECONDS = 5
KEPT_SECONDS = 600
# A reader elsewhere says every so often that it is there; for so long it counts as one.
ATTEND_SECONDS = 1.0
CONTROL = "run:control"
CANCEL, ATTEND, SHARE = "cancel", "attend", "share"
CONNECT_SECONDS = 0.5
# Redis may be late without being away: only after this are finished runs given up.
PATIENCE_SECONDS = 3.0

NO_KEY = -2  # instead of a time to live

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Find = Callable[[int, UUID], Run | None]


class RedisRunStreams:
    """`app.chat.elsewhere.RunStreams`. `find` gives this process's runs, by
    tenant and id. Close with `aclose()`."""

    def __init__(self, url: str, find: Find) -> None:
        self._find = find
        self._redis = open_redis(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=None,  # a follower waits for as long as a run is silent
        )
        self._line = RedisLine(self._redis, CONNECT_SECONDS)
        self._running: dict[UUID, Run] = {}
        self._new: dict[UUID, Run] = {}  # of which something has not been passed on
        self._began: dict[UUID, float] = {}
        self._passed: dict[UUID, int] = {}
        self._beaten: dict[UUID, float] = {}  # the one that was longest ago first
        self._passing: dict[UUID, asyncio.Future[None]] = {}
        self._changed = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._publish(), name="run streams"),
            asyncio.create_task(self._listen(), name="run control"),
        ]

    async def aclose(self) -> None:
        """Pass on what is left, and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with Patience(CONNECT_SECONDS):
                await self._pass_on()
        except (RedisError, OSError, TimeoutError):
            pass
        await self._line.aclose()
        await self._redis.aclose()

    @property
    def waiting(self) -> int:
        """How many runs have not come to their end here."""
        return len(self._running)

    def changed(self, run: Run) -> None:
        if run.id not in self._running:
            self._began[run.id] = time.monotonic()
        self._running[run.id] = self._new[run.id] = run
        self._changed.set()

    async def ended(self, run_id: UUID) -> None:
        """Wait until a run's end is there for others to read, or Redis is away."""
        if run_id in self._running:
            waiting = self._passing.setdefault(run_id, asyncio.get_running_loop().create_future())
            await asyncio.wait({waiting})

    async def cancel(self, scope: Scope, run_id: UUID) -> None:
        await self._tell(CANCEL, scope, run_id)

    async def passed(self, scope: Scope, run_id: UUID) -> Passed | None:
        """See `RunStreams.passed`."""
        try:
            async with Patience(CONNECT_SECONDS):
                entries = await self._redis.xrevrange(_key(scope, run_id), count=1)
        except (RedisError, OSError, TimeoutError):
            return None
        for _, fields in entries or ():
            told = fields or {}
            return Passed(int(told[b"last"]), ended=told[b"end"] == b"1")
        return None

    async def is_kept(self, scope: Scope, run_id: UUID) -> bool:
        """See `app.chat.flights.Shared.is_kept`."""
        return await self.passed(scope, run_id) is not None

    def follow(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        """See `RunStreams.follow`."""
        return self._follow(scope, run_id, after, ATTEND)

    def share(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        """See `RunStreams.share`."""
        return self._follow(scope, run_id, after, SHARE)

    async def _follow(
        self, scope: Scope, run_id: UUID, after: int, attending: str
    ) -> AsyncIterator[bytes]:
        key, last, reached = _key(scope, run_id), "0", 0
        attended = float("-inf")
        while True:
            if time.monotonic() - attended >= ATTEND_SECONDS:
                await self._tell(attending, scope, run_id)
                attended = time.monotonic()
            entries = await self._read(key, last) or await self._silent(key, last)
            for entry, fields in entries:
                last = entry.decode()
                frames = fields[b"frames"].split(b"\n\n")[:-1]
                start = int(fields[b"last"]) - len(frames)
                if start > max(reached, after):
                    raise EventsGone  # Redis has lost a piece, or all that came before
                for number, frame in enumerate(frames, start + 1):
                    if number > max(reached, after):  # an entry may have been written twice
                        yield frame + b"\n\n"
                    reached = max(reached, number)
                if fields[b"end"] == b"1":
                    return

    async def _read(self, key: str, last: str, *, wait: bool = True) -> Entries:
        """The entries behind one; none where none came within a second, or none is there."""
        block = int(ATTEND_SECONDS * 1000) if wait else None
        async with _reaching(ATTEND_SECONDS + CONNECT_SECONDS):
            found = await self._redis.xread({key: last}, block=block)
        streams = list(found.values()) if isinstance(found, dict) else [each[1] for each in found]
        return _flat(streams)

    async def _silent(self, key: str, last: str) -> Entries:
        """What to make of a silent stream: nothing while its owner lives. Raises RunLost where
        that is gone, EventsGone where the run is over, as its stream's long life says, and the
        entry that says so is gone."""
        async with _reaching(CONNECT_SECONDS):
            lives = await self._redis.ttl(key)
        if lives == NO_KEY:
            raise RunLost
        if lives <= ALIVE_SECONDS:
            return []
        entries = await self._read(key, last, wait=False)  # it was written before it was kept
        if not entries:
            raise EventsGone
        return entries

    async def _tell(self, what: str, scope: Scope, run_id: UUID) -> None:
        async with _reaching(CONNECT_SECONDS):
            await self._redis.publish(CONTROL, f"{what} {scope.tenant_id} {run_id}")

    async def _listen(self) -> None:
        """Do what readers on other processes ask for."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as told:
                    await told.subscribe(CONTROL)
                    async for message in told.listen():
                        self._hear(message["data"].decode())
            except (RedisError, OSError):
                await asyncio.sleep(BEAT_SECONDS)

    def _hear(self, message: str) -> None:
        what, tenant, run_id = message.split()
        run = self._find(int(tenant), UUID(run_id))
        if run is None or run.finished:
            return
        if what == CANCEL:
            run.cancel()
        elif what in (ATTEND, SHARE):
            run.frames_from(0)  # from now on somebody sees what it says
            run.attend(2 * ATTEND_SECONDS, sharing=what == SHARE)

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
                async with Patience(CONNECT_SECONDS):
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
        for run in new.values():
            run.tell_again()
        told = self._to_be_told(new, now)
        passed: dict[UUID, int] = {}
        try:
            commands: list[Command] = []
            for run in {**told, **self._due(now)}.values():
                commands += self._commands(run, now, passed)
            if commands:
                await self._line.ask(*commands)
        except BaseException:
            self._new = {**told, **self._new}
            raise
        self._passed.update(passed)
        for run in told.values():
            if run.finished and run.id not in self._new:
                self._forget(run.id)

    def _to_be_told(self, new: dict[UUID, Run], now: float) -> dict[UUID, Run]:
        """Those of the new that somebody may read elsewhere. One that is over before anybody had
        an event of it is told from what is stored, and one that has just begun may soon be."""
        told: dict[UUID, Run] = {}
        for run_id, run in new.items():
            if run.is_unseen and run.finished:
                self._forget(run_id)
            elif run.is_unseen and now - self._began[run_id] < COALESCE_SECONDS:
                self._new[run_id] = run
                self._changed.set()
            else:
                told[run_id] = run
        return told

    def _due(self, now: float) -> dict[UUID, Run]:
        """The runs that have to say that they are alive."""
        due: dict[UUID, Run] = {}
        for run_id, beaten in self._beaten.items():
            if now - beaten < BEAT_SECONDS:
                break
            due[run_id] = self._running[run_id]
        return due

    def _commands(self, run: Run, now: float, passed: dict[UUID, int]) -> Iterator[Command]:
        key, start = _key(run.scope, run.id), self._passed.get(run.id, 0)
        if frames := run.frames_from(start):
            passed[run.id] = start + len(frames)
            end = b"1" if run.finished else b"0"
            fields = ("last", passed[run.id], "frames", b"".join(frames), "end", end)
            yield ("XADD", key, "*", *fields)
        yield ("EXPIRE", key, KEPT_SECONDS if run.finished else ALIVE_SECONDS)
        self._beaten.pop(run.id, None)
        self._beaten[run.id] = now

    def _forget_finished(self) -> None:
        """While Redis is away: what is over is told from what is stored, and must not pile up."""
        for run in list(self._running.values()):
            if run.finished:
                self._forget(run.id)

    def _forget(self, run_id: UUID) -> None:
        for known in (self._running, self._new, self._began, self._passed, self._beaten):
            known.pop(run_id, None)
        if waiting := self._passing.pop(run_id, None):
            waiting.set_result(None)


class NoStreams:
    """Where no Redis is configured: a run is its own process's."""

    def changed(self, run: Run) -> None:
        return None

    async def passed(self, scope: Scope, run_id: UUID) -> Passed | None:
        return None

    async def follow(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        raise Unavailable(AWAY, retry_after=ATTEND_SECONDS)
        yield b""

    share = follow

    async def is_kept(self, scope: Scope, run_id: UUID) -> bool:
        return False

    async def ended(self, run_id: UUID) -> None:
        return None

    async def cancel(self, scope: Scope, run_id: UUID) -> None:
        raise Unavailable(AWAY, retry_after=ATTEND_SECONDS)

    async def aclose(self) -> None:
        return None


def _key(scope: Scope, run_id: UUID) -> str:
    return f"run:{{{scope.tenant_id}}}:{run_id}"


@asynccontextmanager
async def _reaching(seconds: float) -> AsyncIterator[None]:
    """Unavailable where Redis does not answer in time."""
    try:
        async with Patience(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(AWAY, retry_after=ATTEND_SECONDS) from error


def _flat(streams: list[object]) -> Entries:
    """The entries of one stream, in either of the protocol's shapes."""
    if not streams:
        return []
    entries = streams[0]
    if isinstance(entries, list) and entries and isinstance(entries[0], list):
        entries = entries[0]  # RESP3 has a list of batches
    return list(entries)  # type: ignore[call-overload, no-any-return]
