"""The `citestream` command as a user starts it: a process of its own, watched line by line."""

import asyncio
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120


@dataclass
class Running:
    """A service that `citestream run` started and that has said it is ready."""

    process: Process
    lines: list[str]
    data: Path

    @property
    def url(self) -> str:
        found = re.search(r"http://\S+", self.lines[-1])
        assert found, self.lines
        return found[0]

    async def interrupt(self) -> int:
        """Ctrl-C: end it as a terminal would; its exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return await ended(self.process)


async def ended(process: Process) -> int:
    """Wait for the end, reading what is still said; the exit status."""
    async with asyncio.timeout(60):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def environment(data: Path, **variables: str) -> dict[str, str]:
    """This process's environment with a data folder, and without any vendor's key."""
    vendors = ("OPENAI_", "MISTRAL_", "CITESTREAM_", "DATABASE_", "REDIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(vendors)}
    root = Path(__file__).resolve().parents[2]
    return {**kept, "PYTHONPATH": str(root), "CITESTREAM_DATA": str(data), **variables}


def with_models(data: Path, models: Path) -> Path:
    """The data folder, made with models that were exported before, if there are any: its first
    start takes ten seconds less."""
    data.mkdir(mode=0o711)
    if models.exists():
        shutil.copytree(models, data / "models")
    return data


async def output_of(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None
) -> tuple[int, str]:
    """Run a command to its end; exit status and everything it printed."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), env=env, cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE,
        stderr=STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(START_SECONDS):
        printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


@asynccontextmanager
async def running(data: Path, *arguments: str, **variables: str) -> AsyncIterator[Running]:
    """`citestream run`, or what the arguments say, on a free port, ready; interrupted at the end if
    it still runs."""
    process = await asyncio.create_subprocess_exec(
        *command(*(arguments or ("run",))),
        env=environment(data, **{"PORT": "0", **variables}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        start_new_session=True,
    )
    service = Running(process, [], data)
    try:
        async with asyncio.timeout(START_SECONDS):
            await _until_ready(service)
        yield service
    finally:
        if process.returncode is None:
            await service.interrupt()


async def _until_ready(service: Running) -> None:
    assert service.process.stdout is not None
    async for line in service.process.stdout:
        service.lines.append(line.decode().rstrip("\n"))
        if "is ready" in service.lines[-1]:
            return
    raise AssertionError(f"ended before it was ready: {service.lines}")
