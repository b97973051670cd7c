"""How processes of `citestream` are started: as a user does, unless a stage says otherwise."""

import asyncio
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from tests.support.command import command


class Process(Protocol):
    """What is used of `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stdout(self) -> asyncio.StreamReader | None: ...

    def send_signal(self, number: signal.Signals) -> None: ...

    def terminate(self) -> None: ...

    async def wait(self) -> int: ...

    async def communicate(self) -> tuple[bytes, bytes]: ...


# `citestream ARGUMENTS` in a session of its own, with this environment and log.
Start = Callable[[Sequence[str], Mapping[str, str], BinaryIO], Awaitable[Process]]


async def started(arguments: Sequence[str], env: Mapping[str, str], log: BinaryIO) -> Process:
    return await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=env,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=log,
        start_new_session=True,
    )
