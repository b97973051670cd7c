"""The encoder service as a child process: given a socket and a pipe that outlives nobody."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from app.embedded.home import Home, socket_folder
from app.embedded.process import Child

READY_SECONDS = 180.0  # 4 s where the model's file is in the disk cache, much more on a cold disk
STOP_SECONDS = 5.0


class Encoder:
    """One encoder, listening on a socket in a folder that only this user can enter.

    `command` starts the service; added to it are `--uds PATH` and `--exit-with-parent`: its
    standard input is a pipe that closes when this process ends, in whatever way, and it ends too.
    """

    def __init__(self, data: Path, logs: Path, command: Sequence[str]) -> None:
        folder = socket_folder(data / "run", Home(data, account=None))
        _remove_leftovers(folder)
        # One for each process, because a second one may need its own.
        self.socket = folder / f"encoder-{os.getpid()}.sock"
        self._command = [*command, "--uds", str(self.socket), "--exit-with-parent"]
        self._log = logs / "encoder.log"
        self._server: Child | None = None

    @property
    def url(self) -> str:
        return f"http+unix://{quote(str(self.socket), safe='')}"

    async def start(self) -> None:
        """Return when the service answers. Raises EmbeddedError."""
        self._server = Child("The encoder", self._command, self._log, stdin=subprocess.PIPE)
        await self._server.ready(self._healthy, READY_SECONDS)

    def ask_to_stop(self) -> None:
        if self._server:
            self._server.ask_to_stop()

    def stop(self) -> None:
        if self._server:
            self._server.stop(STOP_SECONDS)
        self.socket.unlink(missing_ok=True)

    async def _healthy(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
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
