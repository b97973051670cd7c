"""Taking connections from a listening socket that several processes share.

An event loop's own server takes all connections that wait: when 64 come at once, one of two
processes has most of them or all, and keeps them as long as they are open. Here a process takes
one at a time, and leaves it to the others for a moment while it has more than they: of 64, half.
"""

import asyncio
import socket
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import structlog

from app.shares import Shares

log = structlog.get_logger(__name__)

# A process whose turn it is takes the connection within a millisecond, or else it is busy or hangs.
LOOK_SECONDS = 0.001
YIELD_SECONDS = 0.01
# Without a descriptor left, connections stay where other processes may take them.
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Of a process among those that share a socket."""

    shares: Shares
    slot: int


class Acceptor:
    """Takes connections until it is closed; in the place of an `asyncio.Server` of uvicorn's."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], Any],
        connections: Sized,
        place: Place,
    ) -> None:
        """`make_protocol` makes one of uvicorn's protocols, and `connections` are those that are
        open. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._place = place
        self._beginning: set[asyncio.Task[None]] = set()
        self._yields_since = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        self.tell()
        self._watch()

    def close(self) -> None:
        """Take no more; the socket stays as it is. Once is enough."""
        if self._closed:
            return
        self._closed = True
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._listener)
        self._place.shares.leave(self._place.slot)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: connections are the protocols' matter."""

    def tell(self) -> None:
        """Let the others know how many there are; for now and then, as connections end."""
        if not self._closed:
            open_now = len(self._connections) + len(self._beginning)
            self._place.shares.has(self._place.slot, open_now)

    def _watch(self) -> None:
        self._loop.add_reader(self._listener, self._one_waits)

    def _look_later(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._rest = self._loop.call_later(seconds, self._watch)

    def _one_waits(self) -> None:
        self.tell()
        if not self._place.shares.is_turn_of(self._place.slot) and self._yields():
            self._look_later(LOOK_SECONDS)
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client has left
        except OSError as error:
            log.warning("no connection can be taken", reason=error.strerror)
            self._look_later(PAUSE_SECONDS)
            return
        connection.setblocking(False)
        beginning = self._loop.create_task(self._begin(connection))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        self.tell()

    def _yields(self) -> bool:
        """Whether the others still have time to take it; a while later it is about another one."""
        now = self._loop.time()
        if now - self._yields_since > 2 * YIELD_SECONDS:
            self._yields_since = now
        return now - self._yields_since < YIELD_SECONDS

    async def _begin(self, connection: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # it broke before it began
            connection.close()
            return
        if self._closed:  # the server does not know this one, and would wait for it
            protocol.shutdown()
