"""Rows, one after another: none of them can hide what becomes of the others."""

import asyncio
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.soak.row import Result, Row, Stage

Say = Callable[[str], None]

# Beyond what a row is told to take: servers start, clients finish, a last round is completed.
GRACE_SECONDS = 600.0


async def perform(row: Row, seconds: float | None, seed: int, say: Say) -> Result:
    """One scenario in a folder of its own, which stays where the promise is broken."""
    started = time.monotonic()

    def tell(sentence: str) -> None:
        minutes, rest = divmod(int(time.monotonic() - started), 60)
        say(f"[{row.number:>2}  {minutes:02}:{rest:02}]  {sentence}")

    folder = Path(tempfile.mkdtemp(prefix=f"citestream-soak-{row.number}-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as a user who must get through
    stage = Stage(seconds or row.seconds, folder, random.Random(seed), tell)
    result = Result(row, notes=stage.notes)
    tell(row.promise)
    try:
        async with asyncio.timeout(2 * stage.seconds + GRACE_SECONDS):
            async for name, value in row.measure(stage):
                result.figures[name] = value
    except asyncio.CancelledError:  # Ctrl-C
        shutil.rmtree(folder)
        raise
    except Exception as error:  # the outermost edge: a crash is told with the rest
        cause = first_of(error)
        result.error = f"{type(cause).__name__}: {cause}"
        (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
    result.seconds = time.monotonic() - started
    if result.kept:
        shutil.rmtree(folder)
    else:
        stage.note(f"Logs are in {folder}.")
    tell("kept" if result.kept else f"BROKEN: {result.error or 'see the table'}")
    return result


async def perform_all(
    rows: Sequence[Row], seconds: float | None, seed: int, say: Say, done: list[Result]
) -> None:
    """Each row's result is in `done` as soon as it is there, whatever ends the next one."""
    for row in rows:
        done.append(await perform(row, seconds, seed, say))


def first_of(error: BaseException) -> BaseException:
    """What went wrong first, out of the groups that a TaskGroup makes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
