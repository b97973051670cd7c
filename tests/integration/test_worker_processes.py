"""What the parent of several workers does about processes that end too early or too late."""

import asyncio
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import replace

import pytest

from app.commands.worker import Start
from app.commands.workers import Patience, Workers, WorkersFailed
from app.shares import Shares, table

HASTY = Patience(end=0.1, steady=60, pause=0, longest=0, tries=3)
SERVING = "echo ready serving; exec sleep 600"


def running(first: str, others: str, started: list[str]) -> Start:
    """Starts shells with these scripts instead of workers."""

    async def start(slot: int, is_first: bool) -> Process:
        script = first if is_first else others
        started.append(script)
        return await asyncio.create_subprocess_exec("sh", "-c", script, stdin=PIPE, stdout=PIPE)

    return start


def shares(count: int) -> Shares:
    return Shares(table(count), count)


async def served(
    count: int, first: str, others: str = "", patience: Patience = HASTY
) -> tuple[list[str], list[str], str]:
    """Run until they fail; what was started, what was said and the failure's sentence."""
    started: list[str] = []
    said: list[str] = []
    with socket.socket() as listener:
        workers = Workers(
            count, running(first, others, started), listener, shares(count), said.append, patience
        )
        async with asyncio.timeout(30):
            with pytest.raises(WorkersFailed) as failed:
                await workers.run()
    return started, said, str(failed.value)


async def test_what_the_first_one_says_it_fails_of_is_the_failure_of_all() -> None:
    script = "echo say Indexing …; echo failed There is no database.; exit 1"
    assert await served(4, script) == ([script], ["Indexing …"], "There is no database.")


async def test_a_process_that_ends_again_and_again_is_given_up() -> None:
    script = "echo ready serving; exit 3"
    started, said, why = await served(1, script, script)
    assert (len(started), said) == (HASTY.tries, ["serving"])
    assert why.endswith("ended with status 3; the log says why.")


async def test_it_is_not_ready_before_all_are() -> None:
    script = "echo failed There are too many connections.; exit 1"
    started, said, why = await served(2, SERVING, script)
    assert started == [SERVING, *[script] * HASTY.tries]
    assert (said, why) == ([], "There are too many connections.")


async def test_what_cannot_be_started_is_one_sentence() -> None:
    async def start(slot: int, is_first: bool) -> Process:
        return await asyncio.create_subprocess_exec("/nowhere")

    with socket.socket() as listener:
        workers = Workers(2, start, listener, shares(2), print, HASTY)
        with pytest.raises(WorkersFailed, match=r"cannot be started: No such file or directory\."):
            await workers.run()


async def test_who_does_not_stop_is_killed_and_that_is_no_success() -> None:
    deaf = "trap '' TERM; echo ready serving; cat >/dev/null"
    with socket.socket() as listener:
        workers = Workers(
            1, running(deaf, "", []), listener, shares(1), lambda _: workers.stop(), HASTY
        )
        async with asyncio.timeout(30):
            with pytest.raises(WorkersFailed, match=r"was ended by SIGKILL\."):
                await workers.run()


def test_pauses_double_up_to_the_longest() -> None:
    patience = replace(HASTY, pause=0.5, longest=5)
    pauses = [patience.before_next(in_vain) for in_vain in range(6)]
    assert pauses == [0, 0.5, 1, 2, 4, 5]


def test_the_parent_imports_nothing_that_only_workers_need() -> None:
    heavy = "{'fastapi', 'redis', 'sqlalchemy', 'starlette'}"
    modules = "app.commands.run, app.commands.worker, app.commands.workers"
    code = f"import {modules}, sys; print(sorted({heavy} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
