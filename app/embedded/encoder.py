"""The encoder service as a child process: given a socket and a pipe that outlives nobody."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from app.embedded.home import Home, socket_folder
from app.embedded.process import Child, tail
from app.encoder.backend import PREPARING

# 1 s where the model's files are in the disk cache, 8 s the first time, much more on a cold disk.
READY_SECONDS = 180.0
STOP_SECONDS = 5.0


class Encoder:
    """One encoder, listening on a unix socket that only this user can connect to.

    `command` starts the service; added to it are `--uds PATH` and `--exit-with-parent`: its
    standard input is a pipe that closes when this process ends, in whatever way, and it ends too.
    `keep_open` are descriptors for it to hold as well.
    """

    name = "The encoder"

    def __init__(
        self, socket: Path, log: Path, command: Sequence[str], keep_open: Sequence[int] = ()
    ) -> None:
        self.socket = socket
        self._command = [*command, "--uds", str(socket), "--exit-with-parent"]
        self._log = log
        self._keep_open = keep_open
        self._server: Child | None = None

    @property
    def url(self) -> str:
        return socket_url(self.socket)

    async def start(self, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Return when the service answers; says so if it has to prepare its model before. Raises
        EmbeddedError."""
        said = False

        async def ready() -> bool:
            nonlocal said
            if not said and any(PREPARING in line for line in tail(self._log)):
                said = True
                on_progress(PREPARING)
            return await answers(self.socket)

        self._server = Child(
            self.name,
            self._command,
            self._log,
            stdin=subprocess.PIPE,
            keep_open=self._keep_open,
        )
        await self._server.ready(ready, READY_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_running

    def ask_to_stop(self) -> None:
        if self._server:
            self._server.ask_to_stop()

    def stop(self) -> None:
        if self._server:
            self._server.stop(STOP_SECONDS)
        self.socket.unlink(missing_ok=True)


def own_socket(data: Path) -> Path:
    """Where an encoder of this process listens; one for each, because a second may need its own."""
    folder = socket_folder(data / "run", Home(data, account=None))
    _remove_leftovers(folder)
    return folder / f"encoder-{os.getpid()}.sock"


def socket_url(socket: Path) -> str:
    return f"http+unix://{quote(str(socket), safe='')}"


async def answers(socket: Path) -> bool:
    """Whether an encoder listens there that has loaded its model."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: encoder\r\nConnection: close\r\n\r\n")
        status = (await reader.readline()).split()
    except OSError:
        return False
    finally:
        writer.close()
    return status[1:2] == [b"200"]


def _remove_leftovers(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    for path in folder.glob("encoder-*.sock"):
        try:
            os.kill(int(path.stem.removeprefix("encoder-")), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue
