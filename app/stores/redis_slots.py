"""Which server of a Redis Cluster has which of the 16,384 slots.

Asked when it is first needed, and again when one of them says that a slot has moved, or fails.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app.stores.redis_line import RedisLine
from app.stores.redis_servers import SOMEWHERE

PORT = 6379
# What a server says that is in touch with most of the others.
SERVING = b"cluster_state:ok"
UNKNOWN = "No server of the cluster says which has what."


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Some of the servers, by their places, and what all of them want to hear."""

    places: Sequence[str]
    login: str = field(repr=False)

    def url(self, place: str) -> str:
        """Of one server, as for a server that is alone."""
        return f"redis://{self.login}{place}"


def cluster_address(url: str) -> ClusterAddress:
    """What an address says that the settings have taken."""
    login, at, places = urlsplit(url).netloc.rpartition("@")
    return ClusterAddress([_named_place(each) for each in places.split(",")], login + at)


class Slots:
    """The places of the slots: none before the first answer. Close with `aclose()`."""

    def __init__(
        self, address: ClusterAddress, timeout_seconds: float, connect: Callable[[str], Redis]
    ) -> None:
        """`connect` makes a client of the server at a place."""
        self._address = address
        self._timeout = timeout_seconds
        self._connect = connect
        self._places: list[str] = []
        self.masters: dict[str, None] = {}
        self._learning: asyncio.Task[None] | None = None

    async def known(self) -> None:
        """Return once there are any. Raises RedisConnectionError where no server answers."""
        if not self._places:
            await self.learn()

    def place(self, key: str) -> str:
        return self._places[key_slot(key.encode())] if self._places else SOMEWHERE

    def all_served(self) -> bool:
        """Whether each slot is somebody's."""
        return SOMEWHERE not in self._places

    def moved(self, slot: int, place: str) -> None:
        self._places[slot] = place
        self.masters[place] = None
        self.learn_behind()  # where one has moved, there are more

    async def aclose(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)

    async def learn(self) -> None:
        """Know who has what as of now, together with all who want to know it meanwhile. Raises
        RedisConnectionError where no server answers."""
        await asyncio.shield(self.learn_behind())

    def learn_behind(self) -> asyncio.Task[None]:
        """The same, for who does not wait for it."""
        if self._learning is None:
            self._learning = asyncio.create_task(self._ask_for_slots(), name="slots of the cluster")
            self._learning.add_done_callback(self._has_learned)
        return self._learning

    def _has_learned(self, learning: "asyncio.Task[None]") -> None:
        self._learning = None
        if not learning.cancelled():
            learning.exception()  # those who waited have it; nobody may be left to

    async def _ask_for_slots(self) -> None:
        """Ask all servers that are known; the first that knows counts, one that hangs does not
        hold up anybody. Raises RedisConnectionError where none does."""
        places = dict.fromkeys((*self.masters, *self._address.places))
        asking = [asyncio.create_task(self._slots_by(place)) for place in places]
        try:
            for first in asyncio.as_completed(asking):
                if found := await first:
                    self._know(found)
                    return
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise RedisConnectionError(UNKNOWN)

    async def _slots_by(self, place: str) -> list[tuple[int, int, str]]:
        """The first and the last of each range of slots with its master's place, as one server has
        it; none where that does not answer, is no cluster's, or has lost touch with it."""
        redis = self._connect(place)
        line = RedisLine(redis, self._timeout)
        try:
            state, told = await line.ask(("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
        except (RedisError, OSError):
            return []
        finally:
            await line.aclose()
            await redis.aclose()
        if SERVING not in state:
            return []
        return [(first, last, _named(master, place)) for first, last, master, *_ in told]

    def _know(self, found: Sequence[tuple[int, int, str]]) -> None:
        places = [SOMEWHERE] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, place in found:
            places[first : last + 1] = [place] * (last + 1 - first)
        self._places, self.masters = places, dict.fromkeys(place for _, _, place in found)


def _named(master: Sequence[Any], asked: str) -> str:
    """A server that does not know its own name has that by which it was reached."""
    host = (master[0] or b"").decode()
    return place_of(host if host not in ("", "?") else host_of(asked), master[1])


def _named_place(text: str) -> str:
    parts = urlsplit(f"//{text}")
    return place_of(parts.hostname or "localhost", parts.port or PORT)


def host_of(place: str) -> str:
    return place.rpartition(":")[0].strip("[]")


def place_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
