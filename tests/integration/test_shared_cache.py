"""The shared cache among real processes: one computes, one copy, and what is left of the killed."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from app.bench.shared_cache import measure
from app.encoder.shared_cache import SharedEmbeddingCache
from tests.support.shared_cache import ENCODER, Compute, serve, vectors_of

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["one", "two", "three"]
EXPECTED = vectors_of(TEXTS).tolist()
PATIENCE = 60
# A folder in memory, where there is one: waiting for a disk is most of what storing takes.
MEMORY = Path("/dev/shm")


@dataclass
class Asker:
    """A process with a cache of the folder; see `serve` for what it can be told."""

    process: BaseProcess
    pipe: Connection

    def tell(self, action: str, key: str = "k") -> None:
        self.pipe.send((action, key, TEXTS))

    def hear(self) -> Any:
        assert self.pipe.poll(PATIENCE)
        return self.pipe.recv()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Asker]]:
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as started:

        def start_one() -> Asker:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(theirs, folder), daemon=True)
            process.start()
            theirs.close()
            asker = Asker(process, ours)
            started.callback(asker.kill)
            return asker

        yield start_one


def test_eight_processes_share_one_copy() -> None:
    measured = measure(processes=8, megabytes=40)
    assert measured["computed"] == 1
    assert measured["vectors_mb"] == pytest.approx(40, rel=0.01)
    assert 0.9 <= measured["ratio"] <= 1.2, measured


def test_one_process_computes_and_the_others_wait(start: Callable[[], Asker]) -> None:
    computing, *waiting = [start() for _ in range(4)]
    computing.tell("wait")
    assert computing.hear() == "computing"
    for asker in waiting:
        asker.tell("ask")
    computing.pipe.send("go on")
    answers = [asker.hear() for asker in (computing, *waiting)]
    assert all(vectors == EXPECTED for vectors, _ in answers)
    assert [info.computed for _, info in answers] == [1, 0, 0, 0]
    assert [info.hits for _, info in answers] == [0, 1, 1, 1]


def test_many_entries_asked_at_once_are_computed_once_each(start: Callable[[], Asker]) -> None:
    askers = [start() for _ in range(4)]
    keys = [f"key {number}" for number in range(25)]
    for number, asker in enumerate(askers):
        for key in Random(number).sample(keys, len(keys)):
            asker.tell("ask", key)
    answers = [[asker.hear() for _ in keys] for asker in askers]
    assert all(vectors == EXPECTED for answer in answers for vectors, _ in answer)
    assert sum(answer[-1][1].computed for answer in answers) == len(keys)


def test_the_next_one_computes_when_one_is_killed_computing(
    start: Callable[[], Asker], folder: Path
) -> None:
    first, second, third = start(), start(), start()
    first.tell("hold")
    assert first.hear() == "computing"
    second.tell("hold")
    third.tell("ask", "another key")  # nobody waits for a different one
    assert third.hear()[0] == EXPECTED
    assert not second.pipe.poll()
    first.kill()
    assert second.hear() == "computing"
    second.kill()
    third.tell("ask")
    vectors, info = third.hear()
    assert vectors == EXPECTED
    assert info.computed == 2
    assert {path.suffix for path in folder.iterdir()} == {".vectors"}


def run_script(script: str, *arguments: str) -> str:
    """Run a script in a process of its own that has imported the cache; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PRELUDE = """
import os, resource, signal, sys, threading
from pathlib import Path
import numpy as np
from app.encoder.shared_cache import SharedEmbeddingCache
from tests.support.shared_cache import ENCODER, Compute, vectors_of
TEXTS = ["one", "two", "three"]
folder = Path(sys.argv[1])
vectors_of(TEXTS)  # numpy imports at first use, which another user may not be allowed to
"""

KILLED_AT_EVERY_LINE = """
def die_at(line, cache):
    left = line
    def trace(frame, event, argument):
        nonlocal left
        if "shared_cache" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    sys.settrace(None)

def check(line):
    compute = Compute()
    cache = SharedEmbeddingCache(folder, 0.001)  # room for four
    assert np.array_equal(cache.load_or_create("k", ENCODER, TEXTS, compute), vectors_of(TEXTS))
    info = cache.info()
    assert info.corrupt == info.unstored == 0, (line, info)
    assert info.bytes <= 1048, (line, info)
    cache.load_or_create("more", ENCODER, ["x"] * 20, vectors_of)
    left = sorted(path.suffix for path in folder.iterdir())
    assert set(left) == {".vectors"}, (line, left)
    for path in folder.iterdir():
        path.unlink()
    return compute.calls

lines, computed = 0, 0
status = -1
while status:
    lines += 1
    for number in range(4):
        SharedEmbeddingCache(folder, 0.001).load_or_create(
            f"old {number}", ENCODER, TEXTS, vectors_of)
    child = os.fork()
    if not child:
        die_at(lines, SharedEmbeddingCache(folder, 0.001))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    computed += check(lines)
print(lines, computed)
"""


def test_killed_at_any_line_leaves_nothing_wrong(folder: Path) -> None:
    if MEMORY.is_dir():  # what a killed process has written is there with or without a disk
        folder = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        lines, computed = map(int, run_script(KILLED_AT_EVERY_LINE, str(folder)).split())
    finally:
        shutil.rmtree(folder)
    assert lines > 100
    assert 0 < computed < lines  # killed before the entry was stored, and after


KILLED_WHILE_WRITING = """
cache = SharedEmbeddingCache(folder, 64)
compute = lambda texts: np.full((len(texts), 8), 0.5)
texts = [str(number) for number in range(100_000)]
print("ready", flush=True)
for number in range(10_000):
    cache.load_or_create(f"key {number}", ENCODER, texts, compute)
"""


def test_killed_while_writing_leaves_only_whole_entries(folder: Path) -> None:
    random = Random(7)
    for attempt in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + KILLED_WHILE_WRITING, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
        )
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            try:
                writer.wait(random.uniform(0.0, 0.3))  # a random moment, nothing is waited for
            except subprocess.TimeoutExpired:
                writer.kill()
        texts = [str(number) for number in range(100_000)]
        cache = SharedEmbeddingCache(folder, 64)
        for number in range(3):
            vectors = cache.load_or_create(
                f"key {number}", ENCODER, texts, lambda texts: np.full((len(texts), 8), 0.5)
            )
            assert vectors.min() == vectors.max() == 0.5
        cache.load_or_create(f"last {attempt}", ENCODER, TEXTS, vectors_of)
        assert cache.info().corrupt == 0
        assert cache.info().bytes <= 64 * 2**20
        assert {path.suffix for path in folder.iterdir()} == {".vectors"}


FULL = """
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
cache = SharedEmbeddingCache(folder, 1)
compute = Compute()
big = ["a text"] * 1000
vectors = cache.load_or_create("big", ENCODER, big, compute)
assert np.array_equal(vectors, vectors_of(big)) and not vectors.flags.writeable
assert list(folder.iterdir()) == []
assert np.array_equal(cache.load_or_create("big", ENCODER, big, compute), vectors)
assert compute.calls == 1
cache.load_or_create("small", ENCODER, TEXTS, compute)
info = cache.info()
print(info.unstored, info.computed, info.entries, info.hits)
"""


def test_a_full_disk_costs_only_the_sharing(folder: Path) -> None:
    """A file size limit stands for the full disk: the write fails after 4,096 bytes."""
    assert run_script(FULL, str(folder)) == "1 2 1 1"
    compute = Compute()
    texts = ["a text"] * 1000
    SharedEmbeddingCache(folder, 1).load_or_create("big", ENCODER, texts, compute)
    assert compute.calls == 1


READ_ONLY = """
if os.geteuid() == 0:  # whom a folder's mode does not stop
    os.chown(folder, 65534, 65534)
    for path in folder.iterdir():
        os.chown(path, 65534, 65534)
    os.setuid(65534)
folder.chmod(0o500)
cache = SharedEmbeddingCache(folder, 1)
compute = Compute()
assert np.array_equal(cache.load_or_create("k", ENCODER, TEXTS, compute), vectors_of(TEXTS))
assert compute.calls == 0
assert np.array_equal(cache.load_or_create("new", ENCODER, TEXTS, compute), vectors_of(TEXTS))
assert compute.calls == 1
info = cache.info()
print(info.hits, info.unstored, info.entries)
"""


def test_a_read_only_folder_still_answers() -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o711)  # another user must pass through
        folder = Path(parent) / "cache"
        SharedEmbeddingCache(folder, 1).load_or_create("k", ENCODER, TEXTS, vectors_of)
        try:
            assert run_script(READ_ONLY, str(folder)) == "1 1 1"
        finally:
            folder.chmod(0o700)


FORKED = """
cache = SharedEmbeddingCache(folder, 1)
read, write = os.pipe()
done, finished = os.pipe()

def compute(texts):
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)  # until the parent is dead
        os.close(finished)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)

parent = os.fork()
if not parent:
    cache.load_or_create("k", ENCODER, TEXTS, compute)
assert os.waitpid(parent, 0)[1] == signal.SIGKILL
# The grandchild lives and had inherited the lock's descriptor.
print(len(cache.load_or_create("k", ENCODER, TEXTS, vectors_of)), cache.info().computed)
os.close(write)
os.close(finished)
os.read(done, 1)  # until the grandchild has ended
"""

FORKED_LOCKED = """
cache = SharedEmbeddingCache(folder, 1)
computing, go_on = threading.Event(), threading.Event()

def compute(texts):
    computing.set()
    go_on.wait()
    return vectors_of(texts)

thread = threading.Thread(target=cache.load_or_create, args=("k", ENCODER, TEXTS, compute))
thread.start()
computing.wait()
child = os.fork()  # while a thread that the child does not have computes
if not child:
    cache.load_or_create("other", ENCODER, TEXTS, vectors_of)
    info = cache.info()
    os._exit(0 if (info.computed, info.misses) == (1, 1) else 1)
assert os.waitpid(child, 0)[1] == 0
go_on.set()
thread.join()
print(len(cache.load_or_create("k", ENCODER, TEXTS, Compute())), cache.info().entries)
"""


def test_a_forked_child_does_not_keep_a_dead_parents_lock(folder: Path) -> None:
    assert run_script(FORKED, str(folder)) == "3 1"


def test_a_child_forked_while_another_thread_computes_works(folder: Path) -> None:
    assert run_script(FORKED_LOCKED, str(folder)) == "3 2"
