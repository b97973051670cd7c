"""Has documents read and cut in confined processes (`app.ingest.confined`), a few at a time."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from app.ingest.confined import BEGUN, LENGTH_BYTES, SECONDS
from app.ingest.errors import DocumentTooComplex, ReaderUnavailable
from app.ingest.jobs import cut_from, documents_from, result_of
from app.ingest.ports import NewDocument, Upload
from app.ingest.prepare import LANGUAGE_SAMPLE_CHARS, Prepared, prepare_here, prepared

# So many documents at most are read at the same time; others wait. With 512 MB each this is what
# reading can take of a machine.
AT_ONCE = 2
MAX_REPLY_BYTES = 256 * 1024 * 1024
# So much text is cut here, in a thread: the worst of it takes 60 ms of CPU time and next to no
# memory, usual text 2 ms, and a process of its own 5 ms.
SMALL_CHARS = 16_000
# The process ends itself at its limit; a connection that is open for longer than this beyond it
# hangs for another reason.
GRACE_SECONDS = 10.0
# Of the service's environment the process gets what an interpreter needs, and none of its secrets.
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")


class Workshop:
    """Starts its process when there is something to read, and again where that has ended."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._source: Source | None = None
        self._jobs: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def parse(
        self, name: str, data: bytes, content_type: str | None, max_documents: int
    ) -> list[NewDocument]:
        """`app.ingest.parse.parse_file` of bytes from anywhere, their metadata checked.

        Raises what that does, DocumentTooComplex and ReaderUnavailable.
        """
        options = {"name": name, "content_type": content_type, "max_documents": max_documents}
        return documents_from(await self._result("parse", options, data))

    async def look_through(self, body: bytes) -> None:
        """Raise what `app.ingest.json_values.bounded_json` does, DocumentTooComplex or
        ReaderUnavailable; afterwards the body can be parsed at a cost that has a bound."""
        await self._result("look_through", {}, body)

    async def prepare(
        self, upload: Upload, chunk_chars: int, detect: Callable[[str], str]
    ) -> Prepared:
        """`app.ingest.prepare.prepare`. Raises DocumentTooComplex and ReaderUnavailable."""
        if len(upload.text) <= SMALL_CHARS:
            return await prepare_here(upload, chunk_chars, detect)
        language = await asyncio.to_thread(detect, upload.text[:LANGUAGE_SAMPLE_CHARS])
        options = {
            "title": upload.title,
            "metadata": dict(upload.metadata),
            "language": language,
            "chunk_chars": chunk_chars,
        }
        result = await self._result("cut", options, upload.text.encode())
        return await asyncio.to_thread(prepared, upload, language, cut_from(result))

    async def aclose(self) -> None:
        """End the process with everything it is doing."""
        self._closed = True
        if self._source is not None:
            self._source.end()
        if self._jobs:
            await asyncio.wait(list(self._jobs))

    async def _result(self, job: str, options: Mapping[str, Any], data: bytes) -> Any:
        header = orjson.dumps({"job": job, "options": options})
        parts = [part for each in (header, data) for part in (_length(each), each)]
        reply = await self._reply(parts)
        return await asyncio.to_thread(result_of, reply)

    async def _reply(self, parts: Sequence[bytes]) -> bytes:
        """A caller that is cancelled leaves at once; its place stays taken until the process has
        ended, so that going away gives nobody more processes than there are places."""
        await self._places.acquire()
        task = asyncio.create_task(self._converse(parts))
        self._jobs.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._jobs.discard(task)
        self._places.release()
        if not task.cancelled():
            task.exception()  # its caller has it, or has left

    async def _converse(self, parts: Sequence[bytes]) -> bytes:
        source = self._running()
        connection, began = source.connection(), time.monotonic()
        with connection:
            try:
                async with asyncio.timeout(SECONDS + GRACE_SECONDS):
                    reply = await _exchange(connection, parts)
            except TimeoutError:
                source.end()  # whatever hangs there
                raise ReaderUnavailable from None
        if reply is not None:
            return reply
        if source.ended:  # with all that it was doing: not this document's fault
            raise ReaderUnavailable
        if time.monotonic() - began >= SECONDS:
            raise DocumentTooComplex(
                f"Reading the document takes longer than {SECONDS} seconds; split it."
            )
        raise DocumentTooComplex

    def _running(self) -> "Source":
        if self._closed:
            raise ReaderUnavailable
        if self._source is not None and self._source.ended:
            self._source.end()
            self._source = None
        self._source = self._source or Source()
        return self._source


class Source:
    """The process that forks for every connection it is given."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.ingest.confined", str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # so that it can be ended with its children
            )

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def connection(self) -> socket.socket:
        """To a new process. Raises ReaderUnavailable."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                socket.send_fds(self._control, [b"x"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise ReaderUnavailable from error
        return ours

    def end(self) -> None:
        """At once, with its children; what is left of one that died has its own deadline."""
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    folder = str(Path(__file__).parents[2])
    return {**kept, "PYTHONPATH": folder, "PYTHONSAFEPATH": "1"}


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES)


async def _exchange(connection: socket.socket, parts: Sequence[bytes]) -> bytes | None:
    """Send the parts, take the reply; None where the process ended without one. Raises
    ReaderUnavailable where there was none."""
    loop = asyncio.get_running_loop()
    try:
        if await loop.sock_recv(connection, len(BEGUN)) != BEGUN:
            raise ReaderUnavailable
        for part in parts:
            await loop.sock_sendall(connection, part)
        header = await _exactly(connection, LENGTH_BYTES)
        size = int.from_bytes(header)
        return await _exactly(connection, size) if header and size <= MAX_REPLY_BYTES else None
    except ConnectionError:
        return None


async def _exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or none where the connection ends before."""
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = await loop.sock_recv_into(connection, view[done:])
        if not got:
            return b""
        done += got
    return bytes(data)
