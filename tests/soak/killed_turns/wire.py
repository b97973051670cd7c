"""Stands between one process and Postgres, reads what they say, and stops all of it at one point.

A point is the n-th time that a statement is run since `arm`: just before it reaches the server, or
when the server is done with it and the process does not know. There nothing passes any more, in
either direction and on any connection, so that whoever waits for `reached` can kill the process
and be sure of where it was.
"""

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

# What a process does of its own accord, whether somebody asks it something or not.
BACKGROUND = ("keep_runs_alive", "interrupt_dead_runs", "claim_uploads")
LABEL_CHARS = 48

Side = Literal["before", "behind"]


@dataclass(frozen=True, slots=True)
class Point:
    """Where to stop: before or behind the `number`th run (from 1) of a statement."""

    statement: str
    number: int
    side: Side

    def __str__(self) -> str:
        times = f" ({self.number})" if self.number > 1 else ""
        return f"{self.side} {self.statement}{times}"


@dataclass(slots=True)
class _Connection:
    """One connection of the process; what it has prepared, what it is about to run."""

    server: StreamWriter
    process: StreamWriter
    prepared: dict[bytes, str] = field(default_factory=dict)
    bound: str = ""
    batch: bytearray = field(default_factory=bytearray)
    last: bool = False  # its answer is what the point is behind

    def abort(self) -> None:
        for each in (self.server, self.process):
            each.transport.abort()


class Wire:
    """Listens on a port of 127.0.0.1 while entered, in front of a server's unix socket.

    `seen` are the statements run since `arm`, in order; `reached` is set at the point.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._connections: list[_Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._point: Point | None = None
        self._armed = False
        self.seen: list[str] = []
        self.reached = asyncio.Event()

    async def __aenter__(self) -> "Wire":
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections, as the process's end does."""
        self._stop()
        self._listener.close()
        for connection in self._connections:
            connection.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, point: Point | None) -> None:
        """From now on look for this point; None to see only what there is."""
        self.seen, self._point, self._armed = [], point, True

    def points(self) -> list[Point]:
        """Every point that there was to stop at."""
        counted: Counter[str] = Counter()
        found: list[Point] = []
        for statement in self.seen:
            counted[statement] += 1
            number = counted[statement]
            found += [Point(statement, number, "before"), Point(statement, number, "behind")]
        return found

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            answers, server = await asyncio.open_unix_connection(self._socket)
            connection = _Connection(server, writer)
            self._connections.append(connection)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._ask(reader, connection))
                    group.create_task(self._answer(answers, connection))
            finally:
                self._connections.remove(connection)
                connection.abort()
        except* (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # one of them has left, and so does the other
        finally:
            self._tasks.discard(task)

    async def _ask(self, reader: StreamReader, connection: _Connection) -> None:
        """What the process says. Its first message has no type."""
        length = await reader.readexactly(4)
        rest = await reader.readexactly(struct.unpack("!i", length)[0] - 4)
        connection.server.write(length + rest)
        while True:
            kind, body, frame = await _frame(reader)
            connection.batch += frame
            self._note(connection, kind, body)
            if kind in b"SQ":
                await self._run(connection)
            elif kind not in b"PBDECF":  # what does not wait for the statement's end
                await self._pass_on(connection)

    def _note(self, connection: _Connection, kind: bytes, body: bytes) -> None:
        """Learn which statement is going to be run."""
        if kind == b"P":
            name, query, _ = body.split(b"\0", 2)
            connection.prepared[name] = _label(query)
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            connection.bound = connection.prepared.get(name, "?")
        elif kind == b"Q":
            connection.bound = _label(body.rstrip(b"\0"))

    async def _run(self, connection: _Connection) -> None:
        statement, connection.bound = connection.bound, ""
        if self._armed and statement and not any(each in statement for each in BACKGROUND):
            self.seen.append(statement)
            point, number = self._point, self.seen.count(statement)
            if point and (statement, number) == (point.statement, point.number):
                if point.side == "before":
                    self._stop()
                connection.last = True
        await self._pass_on(connection)

    async def _pass_on(self, connection: _Connection) -> None:
        if not self._stopped:
            connection.server.write(bytes(connection.batch))
            connection.batch.clear()
            await connection.server.drain()

    async def _answer(self, answers: StreamReader, connection: _Connection) -> None:
        """What the server says; ReadyForQuery is the end of a statement and its transaction."""
        while True:
            kind, _, frame = await _frame(answers)
            if connection.last and kind == b"Z":
                self._stop()
            if not (self._stopped or connection.last):
                connection.process.write(frame)
                await connection.process.drain()

    def _stop(self) -> None:
        self._stopped = True
        self.reached.set()


async def _frame(reader: StreamReader) -> tuple[bytes, bytes, bytes]:
    """Type, body and all of a message."""
    head = await reader.readexactly(5)
    body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
    return head[:1], body, head + body


def _label(query: bytes) -> str:
    """A statement's beginning, on one line; of ours, which call functions, that is all of it."""
    return " ".join(query.decode(errors="replace").split()).partition("(")[0][:LABEL_CHARS]
