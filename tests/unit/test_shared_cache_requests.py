"""What a request of the shared cache takes and refuses, and which vectors answer it."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from app.encoder.backend import ModelInfo
from app.encoder.shared_cache import CacheUnusable, SharedEmbeddingCache, Texts, VectorsRefused
from tests.support.shared_cache import DIMENSION, ENCODER, Compute, Encoder, entry_of, vectors_of

TEXTS = ["one", "two", "three"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> SharedEmbeddingCache:
    return SharedEmbeddingCache(folder, max_memory_mb=1)


def test_computes_once_and_gives_the_same_vectors(cache: SharedEmbeddingCache) -> None:
    compute = Compute()
    first = cache.load_or_create("k", ENCODER, TEXTS, compute)
    second = cache.load_or_create("k", ENCODER, list(TEXTS), compute)
    assert np.array_equal(first, vectors_of(TEXTS))
    assert second is first
    assert first.dtype == np.float32
    assert compute.calls == 1
    info = cache.info()
    assert (info.hits, info.misses, info.computed, info.entries) == (1, 1, 1, 1)
    assert info.bytes == 128 + 3 * DIMENSION * 4
    assert info.max_bytes == 2**20


def test_another_cache_of_the_folder_finds_them(cache: SharedEmbeddingCache, folder: Path) -> None:
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    compute = Compute()
    again = SharedEmbeddingCache(folder, 1).load_or_create("k", ENCODER, TEXTS, compute)
    assert np.array_equal(again, vectors_of(TEXTS))
    assert compute.calls == 0


def test_vectors_are_read_only(cache: SharedEmbeddingCache) -> None:
    vectors = cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        vectors.flags.writeable = True


@pytest.mark.parametrize(
    ("key", "encoder", "texts"),
    [
        ("other", ENCODER, TEXTS),
        ("k", Encoder(id="model@2"), TEXTS),
        ("k", Encoder(id="other@1"), TEXTS),
        ("k", ENCODER, ["one", "two", "four"]),
        ("k", ENCODER, ["one", "two"]),
        ("k", ENCODER, ["two", "one", "three"]),
        ("k", ENCODER, ["onet", "wo", "three"]),
        ("k", ENCODER, ["one", "two", "three", ""]),
    ],
)
def test_anything_different_is_computed(
    cache: SharedEmbeddingCache, key: str, encoder: Encoder, texts: Sequence[str]
) -> None:
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    compute = Compute()
    got = cache.load_or_create(key, encoder, texts, compute)
    assert compute.calls == 1
    assert np.array_equal(got, vectors_of(texts))


def test_two_encoders_under_one_key_never_mix(cache: SharedEmbeddingCache) -> None:
    wide = Encoder(id="model@1", dimension=16)
    for _ in range(2):
        assert cache.load_or_create("k", ENCODER, TEXTS, vectors_of).shape == (3, DIMENSION)
        assert cache.load_or_create("k", wide, TEXTS, lambda t: vectors_of(t, 16)).shape == (3, 16)
    info = cache.info()
    assert (info.entries, info.computed, info.hits) == (2, 2, 2)


def test_changed_texts_replace_the_former(cache: SharedEmbeddingCache) -> None:
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    cache.load_or_create("k", ENCODER, ["changed"], vectors_of)
    assert cache.info().entries == 1
    assert np.array_equal(
        cache.load_or_create("k", ENCODER, ["changed"], Compute()), vectors_of(["changed"])
    )


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", "a/b", "\x00", "ключ 🗝", "\ud800", "x" * 10_000]
)
def test_a_key_may_be_any_string(cache: SharedEmbeddingCache, folder: Path, key: str) -> None:
    assert np.array_equal(
        cache.load_or_create(key, ENCODER, ["\ud800", ""], Compute(lambda t: np.ones((2, 8)))),
        np.ones((2, 8)),
    )
    assert entry_of(folder).parent == folder


def test_no_texts_need_no_computing(cache: SharedEmbeddingCache) -> None:
    compute = Compute()
    assert cache.load_or_create("k", ENCODER, [], compute).shape == (0, DIMENSION)
    assert compute.calls == 0
    assert cache.info().entries == 0


@pytest.mark.parametrize(
    ("key", "texts"), [("k", "a text"), ("k", b"bytes"), (7, ["a"]), ("k", [1]), ("k", ["a", None])]
)
def test_wrong_types_are_refused(cache: SharedEmbeddingCache, key: Any, texts: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        cache.load_or_create(key, ENCODER, texts, vectors_of)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_limit_must_be_a_number_above_zero(folder: Path, limit: float) -> None:
    with pytest.raises(ValueError, match="max_memory_mb"):
        SharedEmbeddingCache(folder, limit)


@pytest.mark.parametrize(
    "result",
    [
        np.full((3, DIMENSION), np.nan),
        np.full((3, DIMENSION), np.inf),
        np.full((3, DIMENSION), 1e300),  # infinite as float32
        np.ones((3, DIMENSION + 1)),
        np.ones((2, DIMENSION)),
        np.ones(3 * DIMENSION),
        np.ones((3, DIMENSION), dtype=complex),
        [[1.0] * DIMENSION, [1.0] * DIMENSION, [1.0]],
        [["a"] * DIMENSION] * 3,
        [[None] * DIMENSION] * 3,
        None,
        [],
    ],
    ids=str,
)
def test_unusable_vectors_are_refused_and_not_stored(
    cache: SharedEmbeddingCache, folder: Path, result: Any
) -> None:
    with pytest.raises(VectorsRefused, match="The computed vectors"):
        cache.load_or_create("k", ENCODER, TEXTS, lambda _: result)
    assert list(folder.iterdir()) == []
    assert np.array_equal(cache.load_or_create("k", ENCODER, TEXTS, vectors_of), vectors_of(TEXTS))


@pytest.mark.parametrize(
    "result",
    [
        [[0.5] * DIMENSION] * 3,
        np.full((3, DIMENSION), 0.5, dtype=">f8"),
        np.full((DIMENSION, 3), 0.5, dtype=np.float16).T,
        [tuple([0.5] * DIMENSION)] * 3,
    ],
    ids=["lists", "big-endian", "not contiguous", "tuples"],
)
def test_vectors_may_come_in_any_form(cache: SharedEmbeddingCache, result: Any) -> None:
    got = cache.load_or_create("k", ENCODER, TEXTS, lambda _: result)
    assert np.array_equal(got, np.full((3, DIMENSION), 0.5, np.float32))


def test_halves_take_half_the_memory_and_are_entries_of_their_own(folder: Path) -> None:
    whole, half = SharedEmbeddingCache(folder, 1), SharedEmbeddingCache(folder, 1, dtype="float16")
    whole.load_or_create("k", ENCODER, TEXTS, vectors_of)
    got = half.load_or_create("k", ENCODER, TEXTS, vectors_of)
    assert got.dtype == np.float16
    assert np.allclose(got, vectors_of(TEXTS), atol=1e-3)
    assert half.info().bytes == 2 * 128 + 3 * DIMENSION * (4 + 2)


def test_a_failing_compute_fails_its_caller_alone(cache: SharedEmbeddingCache) -> None:
    def fail(texts: Sequence[str]) -> Any:
        raise ConnectionError("the encoder is gone")

    for _ in range(2):
        with pytest.raises(ConnectionError, match="the encoder is gone"):
            cache.load_or_create("k", ENCODER, TEXTS, fail)
    assert len(cache.load_or_create("k", ENCODER, TEXTS, vectors_of)) == 3
    info = cache.info()
    assert (info.misses, info.computed, info.unstored) == (3, 1, 0)


def test_threads_at_once_compute_once(cache: SharedEmbeddingCache) -> None:
    compute, start, got = Compute(), Barrier(16), []

    def ask() -> None:
        start.wait(10)
        got.append(cache.load_or_create("k", ENCODER, TEXTS, compute))

    _in_threads(16, ask)
    assert compute.calls == 1
    assert len({id(vectors) for vectors in got}) == 1
    assert cache.info().hits == 15


def test_threads_behind_a_failing_one_go_on(cache: SharedEmbeddingCache) -> None:
    start = Barrier(8)
    failures, got = [], []

    def fail_first(texts: Sequence[str]) -> Any:
        if not failures:
            failures.append(1)
            raise RuntimeError("the first one")
        return vectors_of(texts)

    def ask() -> None:
        start.wait(10)
        try:
            got.append(cache.load_or_create("k", ENCODER, TEXTS, fail_first))
        except RuntimeError:
            got.append(None)

    _in_threads(8, ask)
    assert sum(vectors is None for vectors in got) == 1
    assert len(got) == 8
    assert cache.info().computed == 1


def test_computing_may_use_other_entries_but_not_wait_for_itself(
    cache: SharedEmbeddingCache,
) -> None:
    def nested(key: str) -> Any:
        return lambda texts: cache.load_or_create(key, ENCODER, texts, vectors_of)

    assert len(cache.load_or_create("k", ENCODER, TEXTS, nested("other"))) == 3
    with pytest.raises(RuntimeError, match="cannot ask the cache for this entry"):
        cache.load_or_create("own", ENCODER, TEXTS, nested("own"))


def test_a_hit_takes_microseconds(cache: SharedEmbeddingCache) -> None:
    many = Texts(f"text {number}" for number in range(10_000))
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    cache.load_or_create("many", ENCODER, many, lambda t: np.ones((len(t), DIMENSION)))
    times = []
    for _ in range(500):
        start = perf_counter()
        cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
        cache.load_or_create("many", ENCODER, many, vectors_of)
        times.append((perf_counter() - start) / 2)
    assert sorted(times)[250] <= 50e-6


def test_the_encoders_own_description_identifies_it(cache: SharedEmbeddingCache) -> None:
    info = ModelInfo(
        model="m", revision="1", dimension=DIMENSION, max_tokens=1, device="cpu", backend="torch"
    )
    assert len(cache.load_or_create("k", info, TEXTS, vectors_of)) == 3


def test_folder_and_files_are_closed_to_others(cache: SharedEmbeddingCache, folder: Path) -> None:
    cache.load_or_create("k", ENCODER, TEXTS, vectors_of)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry_of(folder).stat().st_mode) == 0o600
    assert [path.suffix for path in folder.iterdir()] == [".vectors"]


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(CacheUnusable, match="Other users may write into the cache folder"):
        SharedEmbeddingCache(tmp_path, 1)


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = Path("/")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 65534, 65534)
    with pytest.raises(CacheUnusable, match="belongs to another user"):
        SharedEmbeddingCache(theirs, 1)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CacheUnusable, match="cannot be made"):
        SharedEmbeddingCache(path, 1)
    with pytest.raises(CacheUnusable, match="cannot be made"):
        SharedEmbeddingCache(path / "below", 1)


def _in_threads(count: int, target: Any) -> None:
    threads = [Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
