"""The shipped nginx configuration in the real nginx, with this machine's addresses put in."""

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

SHIPPED = Path(__file__).resolve().parents[2] / "nginx"
# For what is looked at again and again, and for how long.
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.01


def program() -> str:
    """Where nginx is; Debian's is in no user's PATH."""
    named = os.environ.get("NGINX_PROGRAM")
    found = named or shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    assert found, "No nginx found: install Debian's nginx or set NGINX_PROGRAM to its path."
    return found


class Edge:
    """A folder with a copy of nginx/, and the server that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain, self.secure = _listening(), _listening()
        shutil.copytree(SHIPPED, folder / "nginx")
        for name in ("server", "tls"):
            text = self.read(name).replace("listen 8080", f"listen {_address(self.plain)}")
            self.write(name, text.replace("listen 8443", f"listen {_address(self.secure)}"))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://{_address(self.plain)}"

    def read(self, name: str) -> str:
        return self._path(name).read_text()

    def write(self, name: str, text: str) -> None:
        """Put a text in the place of one of the configuration's files; `reload` makes it so."""
        self._path(name).write_text(text)

    def replicas(self, *servers: str) -> None:
        """The lines that are in the place of `server api:8000 …`."""
        self.write("replicas", "".join(f"server {server};\n" for server in servers))

    async def check(self) -> tuple[int | None, str]:
        """What `nginx -t` says of the configuration."""
        process = await asyncio.create_subprocess_exec(
            *self._command("-t"), stdin=DEVNULL, stderr=PIPE, env={}
        )
        _, said = await process.communicate()
        return process.returncode, said.decode()

    async def start(self) -> None:
        # As its own next version would, it takes over sockets that listen already: no port is
        # looked for that somebody else may have by then.
        sockets = (self.plain.fileno(), self.secure.fileno())
        with self._log.open("ab") as log, self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command("-g", "daemon off;"),
                stdin=DEVNULL,
                stdout=log,
                stderr=errors,
                env={"NGINX": "".join(f"{each};" for each in sockets)},
                pass_fds=sockets,
            )
        async with asyncio.timeout(WAIT_SECONDS):
            while not (self.folder / "nginx.pid").exists():
                assert self._process.returncode is None, self._errors.read_text()
                await asyncio.sleep(LOOK_SECONDS)

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        self.plain.close()
        self.secure.close()

    async def logged(self, request_id: str) -> dict[str, Any]:
        """The line of the access log about this request, once it is there."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for line in self._log.read_text().splitlines():
                    entry: dict[str, Any] = json.loads(line)
                    if entry["request_id"] == request_id:
                        return entry
                await asyncio.sleep(LOOK_SECONDS)

    @property
    def _log(self) -> Path:
        return self.folder / "access.log"

    @property
    def _errors(self) -> Path:
        return self.folder / "errors.log"

    def _path(self, name: str) -> Path:
        return self.folder / "nginx" / f"{name}.conf"

    def _command(self, *arguments: str) -> list[str]:
        configuration = str(self._path("nginx"))
        return [program(), "-p", f"{self.folder}/", "-e", "stderr", "-c", configuration, *arguments]


@asynccontextmanager
async def edge(*replicas: str, **files: str) -> AsyncIterator[Edge]:
    """nginx in front of these replicas; `files` are other texts of the configuration's files."""
    async with edge_folder() as one:
        one.replicas(*replicas)
        for name, text in files.items():
            one.write(name, text)
        await one.start()
        yield one


@asynccontextmanager
async def edge_folder() -> AsyncIterator[Edge]:
    """The configuration in a folder of its own, not started."""
    folder = Path(tempfile.mkdtemp(prefix="citestream-edge-"))
    folder.chmod(0o711)  # its workers are another user's where root starts it
    one = Edge(folder)
    try:
        yield one
    finally:
        await one.stop()
        shutil.rmtree(folder)


def client(one: Edge, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=one.url, timeout=30, trust_env=False, **options)


def _listening() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"
