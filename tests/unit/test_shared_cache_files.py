"""Damaged, foreign and missing files of the shared cache, and which entries have to go."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.encoder import shared_cache_open
from app.encoder.shared_cache import SharedEmbeddingCache
from tests.support.shared_cache import DIMENSION, ENCODER, Compute, Encoder, entry_of, vectors_of

TEXTS = ["one", "two", "three"]
ENTRY_BYTES = 128 + 3 * DIMENSION * 4


def fresh(folder: Path, entries: float = 100) -> SharedEmbeddingCache:
    """A cache as another process would open it, with room for that many entries of TEXTS."""
    return SharedEmbeddingCache(folder, entries * ENTRY_BYTES / 2**20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    fresh(path).load_or_create("k", ENCODER, TEXTS, vectors_of)
    return path


def test_no_flipped_bit_is_ever_read(folder: Path) -> None:
    path = entry_of(folder)
    sound = path.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        compute, cache = Compute(), fresh(folder)
        assert np.array_equal(cache.load_or_create("k", ENCODER, TEXTS, compute), vectors_of(TEXTS))
        assert compute.calls == 1
        assert path.read_bytes() == sound


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in it").touch()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half a header": lambda path: os.truncate(path, 60),
    "no vectors": lambda path: os.truncate(path, 128),
    "one byte less": lambda path: os.truncate(path, ENTRY_BYTES - 1),
    "one byte more": lambda path: os.truncate(path, ENTRY_BYTES + 1),
    "foreign": lambda path: path.write_bytes(b"%PDF-1.7 " * 100),
    "zeros": lambda path: path.write_bytes(bytes(ENTRY_BYTES)),
    "pipe": replace_by_pipe,
    "link": replace_by_link,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_computed_anew(folder: Path, damage: Callable[[Path], object]) -> None:
    path = entry_of(folder)
    damage(path)
    cache = fresh(folder)
    assert np.array_equal(cache.load_or_create("k", ENCODER, TEXTS, vectors_of), vectors_of(TEXTS))
    info = cache.info()
    assert (info.corrupt, info.computed, info.unstored) == (1, 1, 0)
    compute = Compute()
    fresh(folder).load_or_create("k", ENCODER, TEXTS, compute)
    assert compute.calls == 0


def test_what_cannot_be_replaced_is_computed_all_the_same(folder: Path) -> None:
    replace_by_folder(entry_of(folder))
    cache = fresh(folder)
    compute = Compute()
    first = cache.load_or_create("k", ENCODER, TEXTS, compute)
    assert np.array_equal(first, vectors_of(TEXTS))
    assert cache.load_or_create("k", ENCODER, TEXTS, compute) is first
    assert compute.calls == 1
    info = cache.info()
    assert (info.corrupt, info.unstored, info.hits) == (1, 1, 1)
    assert not list(folder.glob("*.partial"))


def test_vectors_outlive_their_file_and_the_folder(folder: Path) -> None:
    cache = fresh(folder)
    vectors = cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    shutil.rmtree(folder)
    assert cache.info().entries == 0
    compute = Compute()
    again = cache.load_or_create("k", ENCODER, TEXTS, compute)
    assert compute.calls == 1
    assert np.array_equal(vectors, again)
    assert cache.info().entries == 1


def test_the_least_recently_used_goes_first(folder: Path) -> None:
    cache = fresh(folder, 3)
    for key in ("a", "b"):
        cache.load_or_create(key, ENCODER, TEXTS, vectors_of)
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    cache.load_or_create("a", ENCODER, TEXTS, vectors_of)
    cache.load_or_create("c", ENCODER, TEXTS, vectors_of)  # instead of b
    info = cache.info()
    assert (info.entries, info.bytes, info.evicted) == (3, 3 * ENTRY_BYTES, 1)
    compute = Compute()
    for key in ("k", "a", "c"):
        fresh(folder).load_or_create(key, ENCODER, TEXTS, compute)
    assert compute.calls == 0
    fresh(folder).load_or_create("b", ENCODER, TEXTS, compute)
    assert compute.calls == 1


def test_what_another_removed_is_let_go(folder: Path) -> None:
    cache, other = fresh(folder, 1), fresh(folder, 1)
    kept = cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    other.load_or_create("a", ENCODER, TEXTS, vectors_of)
    assert cache.info().entries == 1
    assert np.array_equal(kept, vectors_of(TEXTS))
    compute = Compute()
    cache.load_or_create("k", ENCODER, TEXTS, compute)
    assert compute.calls == 1


def test_what_another_replaced_is_let_go(folder: Path) -> None:
    cache = fresh(folder)
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    fresh(folder).load_or_create("k", ENCODER, ["changed"], vectors_of)
    compute = Compute()
    got = cache.load_or_create("k", ENCODER, ["changed"], compute)
    assert compute.calls == 0
    assert np.array_equal(got, vectors_of(["changed"]))


def test_more_than_the_whole_limit_evicts_nothing(folder: Path) -> None:
    cache = fresh(folder, 2)
    texts = ["a longer list"] * 20
    got = cache.load_or_create("big", ENCODER, texts, vectors_of)
    assert np.array_equal(got, vectors_of(texts))
    assert not got.flags.writeable
    info = cache.info()
    assert (info.entries, info.unstored, info.evicted) == (1, 1, 0)


def test_what_cannot_be_stored_is_there_once_while_it_is_used(folder: Path) -> None:
    cache, compute, texts = fresh(folder, 2), Compute(), ["a longer list"] * 20
    got = cache.load_or_create("big", ENCODER, texts, compute)
    assert cache.load_or_create("big", ENCODER, texts, compute) is got
    assert compute.calls == 1
    del got
    gc.collect()
    cache.load_or_create("big", ENCODER, texts, compute)
    assert compute.calls == 2


def test_leftovers_of_killed_processes_are_removed(folder: Path) -> None:
    for name in ("gone.partial", "gone.lock", entry_of(folder).stem + ".partial"):
        (folder / name).write_bytes(b"half")
    fresh(folder).load_or_create("other", ENCODER, TEXTS, vectors_of)
    assert {path.suffix for path in folder.iterdir()} == {".vectors"}


def test_a_process_opens_a_bounded_number_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache_open, "MAX_OPEN", 4)
    cache = fresh(folder)
    before = open_files()
    for number in range(12):
        cache.load_or_create(f"key {number}", ENCODER, TEXTS, vectors_of)
    assert open_files() - before <= 4
    compute = Compute()
    cache.load_or_create("key 0", ENCODER, TEXTS, compute)
    assert compute.calls == 0


def test_a_later_format_is_not_read(folder: Path) -> None:
    path = entry_of(folder)
    later = bytearray(path.read_bytes())
    later[8] = 2
    path.write_bytes(later)
    compute = Compute()
    cache = fresh(folder)
    cache.load_or_create("k", Encoder(), TEXTS, compute)
    assert (compute.calls, cache.info().corrupt) == (1, 0)
