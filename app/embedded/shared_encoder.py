"""One encoder for all processes of this user that need the same one: eight API processes whose
encoder service is away load one model, not eight.

Whoever gets the lock starts it, and the others find it on its socket. The lock is held by the
process that started the encoder and by the encoder: it is free as soon as both have ended.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from app.embedded.encoder import Encoder, answers, socket_url
from app.embedded.home import Home, lock, temporary_folder
from app.embedded.process import POLL_SECONDS, PROBE_SECONDS, EmbeddedError, within

# How long nobody may notice that the process which had started the encoder has ended.
TURN_SECONDS = 0.5


@asynccontextmanager
async def shared_encoder(command: Sequence[str]) -> AsyncIterator[str]:
    """The address of an encoder that answers, started with `command` by this or another process.

    When the one that has started it leaves or dies, its encoder ends, and one of the others starts
    the next at the same address; until that answers, calls fail. Raises EmbeddedError.
    """
    socket = socket_of(command)
    answered = asyncio.Event()
    hosting = asyncio.create_task(_host_in_turn(socket, command, answered))
    try:
        while not await within(lambda: answers(socket), PROBE_SECONDS):
            if hosting.done():
                hosting.result()
            await asyncio.sleep(POLL_SECONDS)
        answered.set()
        yield socket_url(socket)
    finally:
        hosting.cancel()
        await asyncio.gather(hosting, return_exceptions=True)


def socket_of(command: Sequence[str]) -> Path:
    """Where the encoder of this command listens; beside it are its lock and its log."""
    folder = temporary_folder(f"citestream-{os.geteuid()}", Home(Path("/"), account=None))
    key = sha256("\0".join(command).encode()).hexdigest()[:8]
    return folder / f"local-{key}.sock"


async def _host_in_turn(socket: Path, command: Sequence[str], answered: asyncio.Event) -> None:
    """Host the encoder whenever nobody else does. Ends with the error of one that cannot start,
    unless one has `answered`: it may be killed before we have heard so ourselves."""
    while True:
        held = lock(socket.with_suffix(".lock"))
        if held is not None:
            try:
                await _host(socket, command, held)
            except EmbeddedError:
                if not answered.is_set():
                    raise
            finally:
                os.close(held)
        await asyncio.sleep(TURN_SECONDS)


async def _host(socket: Path, command: Sequence[str], held: int) -> None:
    encoder = Encoder(socket, socket.with_suffix(".log"), command, keep_open=[held])
    try:
        await encoder.start()
        running = True
        while running:
            await asyncio.sleep(TURN_SECONDS)
            running = encoder.is_running
    finally:
        # In a thread: it takes some tenths of a second, and requests go on.
        await asyncio.to_thread(encoder.stop)
