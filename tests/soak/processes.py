"""The real things, as a scenario needs them: processes that end with it."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.soak.row import Stage
from tests.soak.starting import Process
from tests.support.command import environment

START_SECONDS = 180.0  # a machine that is busy loads a model for a minute
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A `citestream` process that listens at `url`."""

    url: str
    process: Process


@asynccontextmanager
async def service(
    stage: Stage, name: str, *arguments: str, **variables: str
) -> AsyncIterator[Service]:
    """`citestream ARGUMENTS` with these variables, once it says at which address it is ready.
    What it logs is in `NAME.log` of the stage's folder."""
    process = await launch(stage, name, *arguments, **variables)
    try:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await process.stdout.readline()).decode()
        except TimeoutError as error:
            raise RuntimeError(f"{name} was not ready within {START_SECONDS:g} s.") from error
        found = re.search(r"https?://\S+", line)
        if found is None:
            raise RuntimeError(f"{name} did not start; see {name}.log: {line!r}")
        yield Service(found[0], process)
    finally:
        await stop(process)


async def launch(stage: Stage, name: str, *arguments: str, **variables: str) -> Process:
    """The same without waiting; in a session of its own, to be killed with its children."""
    env = environment(stage.folder / "unused", **variables)
    with (stage.folder / f"{name}.log").open("ab") as log:
        return await stage.start(arguments, env, log)


async def complete(stage: Stage, name: str, *arguments: str, **variables: str) -> str:
    """Run a command to its end; what it printed. RuntimeError where it fails."""
    process = await launch(stage, name, *arguments, **variables)
    try:
        printed, _ = await process.communicate()
    finally:
        await stop(process)
    if process.returncode != 0:
        raise RuntimeError(f"citestream {' '.join(arguments)} ended with {process.returncode}; "
                           f"see {name}.log")  # fmt: skip
    return printed.decode()


async def kill(process: Process) -> None:
    """As a machine's failure would: nothing of it gets to tidy up."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


async def stop(process: Process) -> None:
    """Ask it to end, and insist after a while; nothing where it has ended."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.communicate()
    except TimeoutError:
        await kill(process)


def variables_of(main: Mapping[str, str], following: Mapping[str, str] | None) -> dict[str, str]:
    """The environment that names one encoder, or two while a change goes on."""
    named = {f"CITESTREAM_ENCODER__{key}": value for key, value in main.items()}
    for key, value in (following or {}).items():
        named[f"CITESTREAM_NEXT_ENCODER__{key}"] = value
    return named
