"""One encoder for all processes of a user, in real processes that are killed: with a stand-in for
the encoder that is up at once and writes its process id down."""

import asyncio
import os
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from app.embedded.process import EmbeddedError
from app.embedded.shared_encoder import shared_encoder
from tests.support.people import ENCODER

# An API process: says the address that it got and what answers there, once for each line it reads.
USER = """
import asyncio, sys
from urllib.parse import unquote
from app.embedded.encoder import answers
from app.embedded.shared_encoder import shared_encoder
from pathlib import Path

async def main():
    async with shared_encoder(sys.argv[1:]) as url:
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            while not await answers(Path(unquote(url.removeprefix("http+unix://")))):
                await asyncio.sleep(0.01)
            print("answered", flush=True)

asyncio.run(main())
"""


class Place:
    """A temp folder of its own, and the processes that have been encoders in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pids = folder / "pids"
        # Like the real one, it takes the place of a socket that a killed one has left.
        before = (
            "import os, pathlib, sys\n"
            "pathlib.Path(sys.argv[sys.argv.index('--uds') + 1]).unlink(missing_ok=True)\n"
            f"open({str(self._pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        )
        self.command = [sys.executable, "-c", before + ENCODER]

    def encoders(self) -> list[psutil.Process]:
        pids = self._pids.read_text().split() if self._pids.exists() else []
        return [each for pid in pids if (each := _process(int(pid))) is not None]

    def started(self) -> int:
        return len(self._pids.read_text().split())

    @asynccontextmanager
    async def user(self) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", USER, *self.command),
            env={**os.environ, "TMPDIR": str(self.folder), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=PIPE,
            stdout=PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def _process(pid: int) -> psutil.Process | None:
    """A process that still runs."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


@pytest.fixture
def place() -> Iterator[Place]:
    with TemporaryDirectory(prefix="cs-") as folder:  # short enough for sockets
        place = Place(Path(folder))
        yield place
        for each in place.encoders():
            each.kill()


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().strip()


async def ask(process: Process) -> str:
    assert process.stdin is not None
    process.stdin.write(b"ask\n")
    return await line(process)


async def test_two_processes_share_one_and_the_second_takes_over(place: Place) -> None:
    async with place.user() as one, place.user() as other:
        url = await line(one)
        assert await line(other) == url
        [encoder] = place.encoders()
        assert place.started() == 1
        host, guest = (one, other) if encoder.ppid() == one.pid else (other, one)
        host.send_signal(signal.SIGKILL)
        await host.wait()
        psutil.wait_procs([encoder], timeout=30)
        assert await ask(guest) == "answered"
        [second] = place.encoders()
        assert (second.ppid(), place.started()) == (guest.pid, 2)
    psutil.wait_procs([second], timeout=30)
    assert place.encoders() == []


async def test_one_that_leaves_in_order_takes_its_encoder_along(place: Place) -> None:
    async with place.user() as host:
        url = await line(host)
        [encoder] = place.encoders()
        async with place.user() as guest:
            assert await line(guest) == url
            guest.stdin.close()  # type: ignore[union-attr]
            assert await guest.wait() == 0
        assert encoder.is_running()
        host.stdin.close()  # type: ignore[union-attr]
        assert await host.wait() == 0
    assert place.encoders() == []
    assert place.started() == 1


async def test_an_encoder_that_is_killed_is_started_again(place: Place) -> None:
    async with place.user() as host:
        await line(host)
        [encoder] = place.encoders()
        encoder.kill()  # its socket stays behind
        psutil.wait_procs([encoder], timeout=30)
        assert await ask(host) == "answered"
        assert place.started() == 2


# Answers once, which may be before whoever has started it hears so, and dies; the next one stays.
SHORT_LIVED = """
import os, pathlib, socket, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
path = pathlib.Path(sys.argv[sys.argv.index("--uds") + 1])
path.unlink(missing_ok=True)
first = not path.with_suffix(".first").exists()
path.with_suffix(".first").touch()
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(path))
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    connection.close()
    if first:
        sys.exit(1)
"""


async def test_one_that_dies_with_its_first_answer_is_started_again(place: Place) -> None:
    place.command = [sys.executable, "-c", SHORT_LIVED]
    async with place.user() as host:
        await line(host)
        assert await ask(host) == "answered"


async def test_the_folder_is_closed_to_others(place: Place) -> None:
    async with place.user() as host:
        await line(host)
        [folder] = place.folder.glob("citestream-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_folder_that_others_can_enter_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place.folder))
    folder = place.folder / f"citestream-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(EmbeddedError, match="somebody else"):
        async with shared_encoder(place.command):
            pass


async def test_one_that_cannot_start_is_one_sentence(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place.folder))
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(EmbeddedError, match=r"ended while starting.*no such model"):
        async with shared_encoder(command):
            pass
