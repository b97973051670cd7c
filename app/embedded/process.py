"""A server as a child process: started in a session of its own, ready when a probe says so."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

# Often enough that waiting adds nothing a person notices, rarely enough to cost nothing.
POLL_SECONDS = 0.02
PROBE_SECONDS = 2.0
TAIL_LINES = 4


class EmbeddedError(Exception):
    """An embedded server could not be started; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that servers run as where we are root, because Postgres refuses to be."""

    uid: int
    gid: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What `subprocess` takes to run as this user, with no other groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


# Nothing of ours (keys, PGPORT, …) belongs into a database server's environment, and messages
# must be English because some are recognised.
BARE_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}


class Child:
    """A started process and its log.

    It has a session of its own, so that Ctrl-C in the terminal reaches us alone and we stop the
    servers in order. `stop` is synchronous on purpose: nothing can cancel it half-way.
    `keep_open` are descriptors that it holds as we do, such as that of a lock.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        account: Account | None = None,
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        keep_open: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        try:
            with open_log(log) as output:
                self.process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=stdin,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Folders of ours may be closed to the account; the root is open to all.
                    cwd="/" if account else None,
                    env=environment,
                    umask=0o077,
                    pass_fds=keep_open,
                    start_new_session=True,
                    **(account.arguments if account else {}),
                )
        except OSError as error:
            raise EmbeddedError(f"{name} could not be started: {error}.") from error

    async def ready(self, probe: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Return once `probe` is true; EmbeddedError when the process ends or time is over."""
        deadline = monotonic() + seconds
        while not await within(probe, PROBE_SECONDS):
            if self.process.poll() is not None:
                raise EmbeddedError(f"{self.name} ended while starting{self.last_words()}")
            if monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} was not ready within {seconds:.0f} s{self.last_words()}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def finish(self, seconds: float) -> None:
        """Wait for a tool to end; EmbeddedError when it fails or takes longer than `seconds`."""
        deadline = monotonic() + seconds
        try:
            while (status := self.process.poll()) is None:
                if monotonic() > deadline:
                    raise EmbeddedError(
                        f"{self.name} did not end within {seconds:.0f} s{self.last_words()}"
                    )
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self.kill()
        if status != 0:
            raise EmbeddedError(f"{self.name} failed{self.last_words()}")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def say(self, text: str) -> None:
        """Write a short text to the standard input, which must be a pipe, and close it."""
        if self.process.stdin:
            with suppress(BrokenPipeError), self.process.stdin as stdin:
                stdin.write(text.encode())

    def last_words(self) -> str:
        """The end of a sentence: where the log is and what it says last."""
        lines = [line.strip() for line in tail(self.log) if line.strip()][-TAIL_LINES:]
        if not lines:
            return f"; its log {self.log} is empty."
        return f"; the end of {self.log} says: {' | '.join(lines)}"

    def ask_to_stop(self) -> None:
        if self.process.stdin:
            with suppress(OSError):
                self.process.stdin.close()
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)

    def stop(self, seconds: float) -> None:
        """End the process: asked first, killed after `seconds`."""
        self.ask_to_stop()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process and its session at once; does nothing when it has ended."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


async def within(probe: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """The probe's answer; False when it takes longer, because a hung server is not ready."""
    try:
        async with asyncio.timeout(seconds):
            return await probe()
    except TimeoutError:
        return False


def open_log(path: Path) -> Any:
    """Start a log afresh, readable by its owner only; the former one stays as `….previous`."""
    with suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".previous"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def tail(path: Path, size: int = 4096) -> list[str]:
    """The last lines of a log, at most `size` bytes of it; none when it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        return file.read().decode(errors="replace").splitlines()
    return []


def end_leftover(pid: int, mark: str, stop_signal: signal.Signals, seconds: float) -> None:
    """End the server `pid` that an owner killed before us has left; killed after `seconds`.

    Only a process whose command line contains `mark`, a path that nothing but our server has,
    is ours: process ids are used again.
    """
    import psutil  # only here: after a crash is no reason to make every start 20 ms slower

    try:
        process = psutil.Process(pid)
        if not any(mark in part for part in process.cmdline()):
            return
        process.send_signal(stop_signal)
        deadline = monotonic() + seconds
        # In a container without an init nobody reaps an orphan, and it stays as a zombie.
        while process.status() != psutil.STATUS_ZOMBIE:
            if monotonic() > deadline:
                process.kill()
            sleep(POLL_SECONDS)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM off: an impatient second Ctrl-C must not leave servers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
