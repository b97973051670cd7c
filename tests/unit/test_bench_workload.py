"""What the benches ask, and of whose processes they count the time."""

import asyncio
import sys

import psutil
import pytest

from app.bench.growing import numbered
from app.bench.processes import Program
from app.bench.zipf import Workload

PARENT = (
    "import subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
    "print(child.pid, flush=True); input()"
)


def test_a_usual_day_is_the_same_every_time() -> None:
    workload = Workload()
    drawn = workload.drawn()
    assert drawn == workload.drawn() and len(drawn) == 10_000
    assert min(drawn) >= 0 and max(drawn) < 5_000
    share = drawn.count(0) / drawn.count(1)
    assert share == pytest.approx(2**1.1, rel=0.1)


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock?db=3"),
        ("redis://localhost:6379", "redis://localhost:6379/3"),
        ("redis://localhost:6379/0", "redis://localhost:6379/3"),
    ],
)
def test_another_database_of_a_redis(url: str, other: str) -> None:
    assert numbered(url, 3) == other


async def test_a_program_is_all_of_its_processes() -> None:
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdin=pipe, stdout=pipe
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    program = Program(0, parent.pid)
    own = psutil.Process(parent.pid).memory_info().rss
    assert program.resident_bytes() >= own + child.memory_info().rss // 2
    assert program.cpu_seconds() > 0
    parent.kill()
    child.kill()
    await parent.communicate()
