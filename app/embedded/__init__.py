"""Postgres, Valkey and the encoder for zero set-up: started, joined and stopped with one `with`.

    async with embedded_servers(Path(".citestream"), encoder=None) as servers:
        await asyncpg.connect(servers.app_url)

Everything is in one data folder and on unix sockets in folders closed to other users.
"""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import asyncpg

from app.embedded.encoder import Encoder, own_socket
from app.embedded.guarding import guarded
from app.embedded.home import lock, open_home
from app.embedded.ownership import DataFolder, Servers
from app.embedded.postgres import APP, OWNER, Postgres, url
from app.embedded.process import PROBE_SECONDS, EmbeddedError, uninterrupted
from app.embedded.valkey import Valkey

__all__ = ["EmbeddedError", "Servers", "embedded_servers"]


@asynccontextmanager
async def embedded_servers(
    data: Path,
    *,
    encoder: Sequence[str] | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Servers]:
    """Running servers of the data folder, ready to use.

    The first process to come owns them: it starts them, again where one ends by itself, and stops
    them at the end, also when it is cancelled or gets SIGTERM. Others join and leave them running.
    `encoder` is the command that starts the encoder service (see `Encoder`), None for none.
    Raises EmbeddedError.
    """
    folder = DataFolder(data)
    folder.make()
    with _cancelled_by_signals():
        joined = await folder.claim_or_join(_reached)
        run = _Run(folder)
        try:
            try:
                servers = await run.start(joined, encoder, on_progress)
            except OSError as error:
                raise folder.unusable(error) from error
            async with guarded(run.started, on_progress):
                yield servers
        finally:
            with uninterrupted():
                run.stop()


class _Run:
    """What this process has started for one data folder."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._home_lock: int | None = None
        self.started: list[Encoder | Valkey | Postgres] = []

    async def start(
        self,
        joined: Servers | None,
        encoder: Sequence[str] | None,
        on_progress: Callable[[str], None],
    ) -> Servers:
        """The servers, ready: the joined ones, or our own; with an encoder where one is wanted."""
        try:
            async with asyncio.TaskGroup() as group:
                # The encoder first: its model takes longer to load than all the rest.
                own = None
                if encoder is not None and (joined is None or joined.encoder_url is None):
                    log = self._folder.logs / "encoder.log"
                    own = Encoder(own_socket(self._folder.path), log, encoder)
                    self.started.append(own)
                    group.create_task(own.start(on_progress))
                    await asyncio.sleep(0)  # lets it begin
                servers = joined or await self._start_stores(group, on_progress)
                if own:
                    on_progress("Loading the encoder")
                    servers = replace(servers, encoder_url=own.url)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        if joined is None:
            self._folder.publish(servers)
        return servers

    def stop(self) -> None:
        """Stop what was started, Postgres last, and give the folder back."""
        self._folder.withdraw()
        for server in self.started:
            server.ask_to_stop()
        for server in self.started:
            server.stop()
        if self._home_lock is not None:
            os.close(self._home_lock)
        self._folder.release()

    async def _start_stores(
        self, group: asyncio.TaskGroup, on_progress: Callable[[str], None]
    ) -> Servers:
        home = open_home(self._folder.path)
        # A copied data folder names the same home outside of it as the original does.
        self._home_lock = lock(home.path / "lock")
        if self._home_lock is None:
            raise EmbeddedError(
                f"The database in {home.path} is in use by another data folder; "
                f"delete {self._folder.path} if it is a copy."
            )
        on_progress("Starting Postgres and Valkey")
        valkey, postgres = Valkey(home, self._folder.logs), Postgres(home, self._folder.logs)
        self.started += [valkey, postgres]
        group.create_task(valkey.start(on_progress))
        await postgres.start(on_progress)
        return Servers(
            owner_url=url(OWNER, postgres.sockets),
            app_url=url(APP, postgres.sockets),
            redis_url=valkey.url,
            encoder_url=None,
        )


async def _reached(servers: Servers) -> bool:
    try:
        connection = await asyncpg.connect(servers.app_url, timeout=PROBE_SECONDS)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP cancel this task where nobody handles them, so that the servers are
    stopped; then end the process with the status that a shell gives for the signal."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    received: list[int] = []

    def cancel(number: int, frame: FrameType | None) -> None:
        if task is None or task.done():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        else:
            received.append(number)
            loop.call_soon_threadsafe(task.cancel)

    ours = []
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGTERM, signal.SIGHUP)
        ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, cancel)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        if received:
            raise SystemExit(128 + received[0])
