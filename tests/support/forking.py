"""`citestream` in processes of its own that need not import the service: forks of one that has.

To import takes most of a start, and of a short command's time. They have their own pids, sessions,
logs and ends; that a command can be started as a user does is shown elsewhere.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

IMPORTED = (
    "app.cli",
    "app.stores.migrate",
    "app.commands.foreground",
    *(f"app.commands.{name}" for name in ("ask", "evaluate", "index", "ingest", "key", "keys")),
    *(f"app.commands.{name}" for name in ("reencode", "run", "token", "user")),
)
SECONDS = 120

# What works like `tests.support.command.output_of`.
Output = Callable[..., Coroutine[Any, Any, tuple[int, str]]]


class Fork:
    """One of them; it has what `asyncio.subprocess.Process` has."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, ends: "asyncio.Task[int]") -> None:
        self.pid = pid
        self.stdout = stdout
        self._ends = ends

    @property
    def returncode(self) -> int | None:
        return self._ends.result() if self._ends.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        return await asyncio.shield(self._ends)

    async def communicate(self) -> tuple[bytes, bytes]:
        printed = await self.stdout.read()
        await self.wait()
        return printed, b""


class Forks:
    """Starts them, at the process that listens at the other end of the socket."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server

    async def start(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        log: BinaryIO | None = None,
        cwd: Path | None = None,
    ) -> Fork:
        """`citestream ARGUMENTS`. Without a log its errors come with what it prints."""
        near, far = socket.socketpair()
        read, write = os.pipe()
        with far:
            errors = write if log is None else log.fileno()
            socket.send_fds(self._server, [b"!"], [far.fileno(), write, errors])
        os.close(write)
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        return await _begun(near, read, json.dumps(request).encode())

    async def output(
        self, *arguments: str, env: Mapping[str, str], cwd: Path | None = None
    ) -> tuple[int, str]:
        """Exit status and everything that it printed."""
        async with asyncio.timeout(SECONDS):
            process = await self.start(arguments, env, cwd=cwd)
            printed, _ = await process.communicate()
            return await process.wait(), printed.decode()


@asynccontextmanager
async def forks() -> AsyncIterator[Forks]:
    """While entered."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __name__, stdin=theirs
            )
        yield Forks(ours)
    await server.wait()


async def _begun(near: socket.socket, read: int, request: bytes) -> Fork:
    stdout = asyncio.StreamReader()
    pipe = os.fdopen(read, "rb")
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), pipe)
    told, writer = await asyncio.open_connection(sock=near)
    writer.write(request)
    writer.write_eof()
    pid = int(await told.readline())

    async def ends() -> int:
        status = int(await told.readline())
        writer.close()
        return status

    return Fork(pid, stdout, asyncio.create_task(ends()))


# --- in the process that forks -------------------------------------------------------------------


def main() -> None:
    """Fork for every three descriptors that come over the standard input, until that ends."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of those below, nobody waits for the end
    control = socket.socket(fileno=0)
    while descriptors := socket.recv_fds(control, 1, 3)[1]:
        if os.fork() == 0:
            _keep(*descriptors)
        for each in descriptors:
            os.close(each)


def _keep(descriptor: int, stdout: int, stderr: int) -> NoReturn:
    """Tell the process id of the command, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asking = socket.socket(fileno=descriptor)
    with asking.makefile("rb") as file:
        request = json.load(file)
    pid = os.fork()
    if pid == 0:
        asking.close()
        _become(request, stdout, stderr)
    os.close(stdout)
    os.close(stderr)
    asking.sendall(b"%d\n" % pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):  # nobody wants to know any more
        asking.sendall(b"%d\n" % status)
    os._exit(0)


def _become(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    os.setsid()
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["citestream", *request["arguments"]]
    status = _status()
    sys.stdout.flush()
    os._exit(status)


def _status() -> int:
    from app.cli import main as citestream

    try:
        citestream()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
