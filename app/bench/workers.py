"""Processes that take tasks as lines of JSON and answer each with one."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

LINE_BYTES = 1 << 26
TIMEOUT_SECONDS = 600


class WorkerFailed(Exception):
    """A process of the benchmark ended early; the message is what it said last."""


class Worker:
    """One such process. Get one from `worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self) -> dict[str, Any]:
        """Its next answer. Raises WorkerFailed."""
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await self._process.stdout.readline()
            if not line:
                said = (await self._process.stderr.read()).decode(errors="replace").strip()
                raise WorkerFailed((said.splitlines() or ["It ended without a word."])[-1])
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    async def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """Its answer to a task. Raises WorkerFailed."""
        assert self._process.stdin is not None  # noqa: S101 — `worker` made a pipe
        self._process.stdin.write(orjson.dumps(task) + b"\n")
        await self._process.stdin.drain()
        return await self.read()


@asynccontextmanager
async def worker(module: str, *arguments: str) -> AsyncIterator[Worker]:
    """`python -m module arguments…` as a worker, ended at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
