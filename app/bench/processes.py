"""The programs that a bench measures, each a process with a port of its own."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from app.bench.workers import WorkerFailed
from app.embedded import Servers

READY_SECONDS = 120
# Of this process's environment what is measured takes nothing that would set it up.
OURS = ("CITESTREAM_", "DATABASE_", "REDIS_", "OPENAI_", "MISTRAL_", "RAG_", "OTEL_")


@dataclass(frozen=True, slots=True)
class Program:
    """A process that answers on a port of 127.0.0.1, with those that it has started."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """The processor's time that they have taken since their start."""
        return sum(map(cpu_seconds, self._processes()))

    def resident_bytes(self) -> int:
        return sum(int(each.memory_info().rss) for each in self._processes())

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Of all threads. Linux knows it in nanoseconds, others in hundredths of a second."""
    if sys.platform == "linux":
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def serving(environment: Mapping[str, str], log: Path) -> AsyncIterator[Program]:
    """A `citestream serve` of its own, once it says that it is ready."""
    async with running(log, "-m", "app.cli", "serve", environment=environment) as program:
        yield program


@asynccontextmanager
async def running(
    log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """`python arguments…` with this process's environment or another one, once its first line has
    said its address. Ended at the end. Raises WorkerFailed."""
    async with _process(environment or os.environ, log, *arguments) as process:
        yield Program(await _port(process, log), process.pid)


async def migrate(environment: Mapping[str, str], log: Path) -> None:
    """Bring the environment's database to this version. Raises WorkerFailed."""
    async with _process(environment, log, "-m", "app.cli", "migrate") as process:
        await process.communicate()
        if process.returncode:
            raise await _failed(log)


def as_shipped(servers: Servers, folder: Path, provider: str, model: str) -> dict[str, str]:
    """The environment of a service on these servers, which is otherwise set up as it is shipped;
    its OpenAI is at `provider`, its encoder hosts `model`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {
        "DATABASE_URL": servers.app_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
        "CITESTREAM_ENCODER__URL": servers.encoder_url or "",
        "CITESTREAM_ENCODER__MODEL": model,
        "CITESTREAM_DATA": str(folder),
        "OPENAI_BASE_URL": provider,
        "OPENAI_API_KEY": "bench",
        "PORT": "0",
    }


async def _port(process: Process, log: Path) -> int:
    """Of the address in the first line that it prints."""
    assert process.stdout is not None  # noqa: S101 — a pipe
    async with asyncio.timeout(READY_SECONDS):
        line = (await process.stdout.readline()).decode()
    found = re.search(r"http://[\w.:]+", line)
    if found is None:
        raise await _failed(log)
    port = urlsplit(found[0]).port
    assert port is not None  # noqa: S101 — all of them print theirs
    return port


async def _failed(log: Path) -> WorkerFailed:
    said = (await asyncio.to_thread(log.read_text, errors="replace")).strip().splitlines()
    return WorkerFailed(said[-1] if said else "A process ended without a word.")


@asynccontextmanager
async def _process(
    environment: Mapping[str, str], log: Path, *arguments: str
) -> AsyncIterator[Process]:
    with await asyncio.to_thread(log.open, "wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), env=dict(environment), stdout=PIPE, stderr=errors
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
        await process.communicate()
