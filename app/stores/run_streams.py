"""Runs' frames in Redis Streams, for readers on other processes; and what these tell the owner.

What there is to read is written by `app.stores.run_outbox`. A reader tells whichever process has
the run that it is there, on a channel of the run's tenant: streams and channel of a tenant are on
the same server of a cluster.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from redis.exceptions import RedisError

from app.chat.elsewhere import AWAY, Passed, RunLost
from app.chat.model import Scope
from app.chat.run import Run
from app.errors import EventsGone, Unavailable
from app.stores.patience import Patience
from app.stores.redis_channels import Channels
from app.stores.redis_open import open_servers
from app.stores.run_outbox import ALIVE_SECONDS, RunOutbox, stream_key

# A reader elsewhere says every so often that it is there; for so long it counts as one.
ATTEND_SECONDS = 1.0
CANCEL, ATTEND, SHARE = "cancel", "attend", "share"
CONNECT_SECONDS = 0.5

# How often, how long after each other, to look for the end of a run that is over, and whether it
# was passed on at all. Both are there within 0.06 s; of a process that was killed there is no end.
LAST_WORDS_LOOKS, FIRST_WORDS_LOOKS, LAST_WORDS_SECONDS = 20, 5, 0.02

NO_KEY = -2  # instead of a time to live

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Find = Callable[[int, UUID], Run | None]


class RedisRunStreams:
    """`app.chat.elsewhere.RunStreams`. `find` gives this process's runs, by
    tenant and id. Close with `aclose()`."""

    def __init__(self, url: str, find: Find) -> None:
        self._find = find
        self.servers = open_servers(url, CONNECT_SECONDS, CONNECT_SECONDS)
        self._outboxes: dict[str, RunOutbox] = {}  # by the servers' places
        self._channels = Channels(self.servers, self._hear)

    async def aclose(self) -> None:
        """Pass on what is left, and stop."""
        await asyncio.gather(*(each.aclose() for each in self._outboxes.values()))
        await self._channels.aclose()
        await self.servers.aclose()

    @property
    def waiting(self) -> int:
        """How many runs have not come to their end here."""
        return sum(map(len, self._outboxes.values()))

    def changed(self, run: Run) -> None:
        self._need(run)
        for outbox in self._outboxes.values():
            if run in outbox:  # it stays there, also when a cluster moves its tenant
                outbox.changed(run)
                return
        self._outbox_for(run).changed(run)

    async def ended(self, run_id: UUID) -> None:
        """Wait until a run's end is there for others to read, or Redis is away."""
        for outbox in tuple(self._outboxes.values()):
            await outbox.ended(run_id)

    async def cancel(self, scope: Scope, run_id: UUID) -> None:
        await self._tell(CANCEL, scope, run_id)

    async def forget(self, scope: Scope, run_id: UUID) -> None:
        """See `RunStreams.forget`; nothing is there while Redis is away. What its process says last
        of it may be on its way still, and must not come behind what is said anew."""
        for look in range(LAST_WORDS_LOOKS):
            passed = await self.passed(scope, run_id)
            if passed.ended if passed is not None else look == FIRST_WORDS_LOOKS:
                break
            await asyncio.sleep(LAST_WORDS_SECONDS)
        with suppress(Unavailable):
            async with _reaching(CONNECT_SECONDS):
                await self.servers.ask(("UNLINK", stream_key(scope, run_id)))

    async def passed(self, scope: Scope, run_id: UUID) -> Passed | None:
        """See `RunStreams.passed`."""
        newest = ("XREVRANGE", stream_key(scope, run_id), "+", "-", "COUNT", 1)
        try:
            async with Patience(CONNECT_SECONDS):
                [entries] = await self.servers.ask(newest)
        except (RedisError, OSError, TimeoutError):
            return None
        for _, fields in entries or ():
            told = dict(zip(fields[::2], fields[1::2], strict=True))
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

    def _outbox_for(self, run: Run) -> RunOutbox:
        place = self.servers.place(stream_key(run.scope, run.id))
        if place not in self._outboxes:
            self._outboxes[place] = RunOutbox(self.servers, self._need)
        return self._outboxes[place]

    def _need(self, run: Run) -> None:
        self._channels.need(_channel(run.scope))

    async def _follow(
        self, scope: Scope, run_id: UUID, after: int, attending: str
    ) -> AsyncIterator[bytes]:
        key, last, reached = stream_key(scope, run_id), "0", 0
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
        block = ("BLOCK", int(ATTEND_SECONDS * 1000)) if wait else ()
        async with _reaching(ATTEND_SECONDS + CONNECT_SECONDS):
            found = await self.servers.wait_for("XREAD", *block, "STREAMS", key, last) or []
        streams = list(found.values()) if isinstance(found, dict) else [each[1] for each in found]
        return _flat(streams)

    async def _silent(self, key: str, last: str) -> Entries:
        """What to make of a silent stream: nothing while its owner lives. Raises RunLost where
        that is gone, EventsGone where the run is over, as its stream's long life says, and the
        entry that says so is gone."""
        async with _reaching(CONNECT_SECONDS):
            [lives] = await self.servers.ask(("TTL", key))
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
            told = f"{what} {scope.tenant_id} {run_id}"
            await self.servers.ask(("SPUBLISH", _channel(scope), told))

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


class NoStreams:
    """Where no Redis is configured: a run is its own process's."""

    def changed(self, run: Run) -> None:
        return None

    async def forget(self, scope: Scope, run_id: UUID) -> None:
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


def _channel(scope: Scope) -> str:
    return f"run:{{{scope.tenant_id}}}:control"


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
