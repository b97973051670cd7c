"""Query vectors are encoded once for all who ask, and never mixed or lost with a failure."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.chat.model import Vector
from app.encoder import caching
from app.encoder.caching import CachingEncoder, ExpectedVector, pack, query_key, unpack
from app.errors import EncoderUnavailable
from tests.support.core import MemoryCache
from tests.support.encoder import HashEncoder
from tests.support.waiting import until


class Counting(HashEncoder):
    """Counts its encodings; waits at `gate` and fails where told to."""

    def __init__(self, name: str = "hash-384") -> None:
        self.name = name  # type: ignore[misc]
        self.calls: list[str] = []
        self.gate: asyncio.Event | None = None
        self.failing = False

    async def embed_query(self, text: str) -> Vector:
        self.calls.append(text)
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise EncoderUnavailable
        return await super().embed_query(text)


async def test_a_process_encodes_a_text_once() -> None:
    encoder = Counting()
    cached = CachingEncoder(encoder, MemoryCache())
    first = await cached.embed_query("What is Atlas?")
    assert await cached.embed_query("What is Atlas?") == first
    assert await cached.embed_query("What is atlas?") is not None
    assert encoder.calls == ["What is Atlas?", "What is atlas?"]
    assert cached.statistics() == {"local_hits": 1, "shared_hits": 0, "joined": 0, "encoded": 2}


async def test_processes_share_what_one_has_encoded() -> None:
    shared, encoder = MemoryCache(), Counting()
    first = await CachingEncoder(encoder, shared).embed_query("What is Atlas?")
    other = CachingEncoder(encoder, shared)
    assert await other.embed_query("What is Atlas?") == first
    assert len(encoder.calls) == 1
    assert other.statistics()["shared_hits"] == 1


async def test_two_encoders_never_share() -> None:
    shared, one, two = MemoryCache(), Counting("one"), Counting("two")
    await CachingEncoder(one, shared).embed_query("What is Atlas?")
    await CachingEncoder(two, shared).embed_query("What is Atlas?")
    assert (len(one.calls), len(two.calls)) == (1, 1)


async def test_who_asks_at_once_waits_for_one_encoding_even_if_the_first_leaves() -> None:
    encoder = Counting()
    encoder.gate = asyncio.Event()
    cached = CachingEncoder(encoder, MemoryCache())
    askers = [asyncio.create_task(cached.embed_query("What is Atlas?")) for _ in range(5)]
    await asyncio.sleep(0)
    askers[0].cancel()
    encoder.gate.set()
    vectors = await asyncio.gather(*askers[1:])
    assert all(vector == vectors[0] for vector in vectors)
    assert len(encoder.calls) == 1
    assert cached.statistics()["joined"] == 4


async def test_a_failure_is_not_remembered() -> None:
    encoder = Counting()
    encoder.failing = True
    cached = CachingEncoder(encoder, MemoryCache())
    with pytest.raises(EncoderUnavailable):
        await cached.embed_query("What is Atlas?")
    encoder.failing = False
    assert len(await cached.embed_query("What is Atlas?")) == 384


async def test_a_damaged_entry_is_a_miss() -> None:
    shared, encoder = MemoryCache(), Counting()
    shared.entries[query_key(encoder.name, "What is Atlas?")] = b"short"
    assert len(await CachingEncoder(encoder, shared).embed_query("What is Atlas?")) == 384
    assert len(encoder.calls) == 1


async def test_the_process_keeps_only_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "LOCAL_ENTRIES", 2)
    encoder, shared = Counting(), MemoryCache()
    cached = CachingEncoder(encoder, shared)
    for text in ("a", "b", "a", "c"):
        await cached.embed_query(text)
    shared.entries.clear()
    await cached.embed_query("a")
    assert encoder.calls == ["a", "b", "c"]
    await cached.embed_query("b")
    assert encoder.calls == ["a", "b", "c", "b"]


def test_packing_is_half_floats_and_rounds_once() -> None:
    packed = pack([0.1, -0.25, 1.0])
    assert len(packed) == 6
    assert unpack(packed) == pytest.approx([0.1, -0.25, 1.0], abs=1e-4)
    assert pack(unpack(packed)) == packed


async def expecting(cached: CachingEncoder, text: str = "What is Atlas?") -> ExpectedVector:
    """Expect a vector; its look-up has come back when this returns."""
    expected = cached.expect(text)
    assert expected is not None
    for _ in range(3):
        await asyncio.sleep(0)
    return expected


async def test_what_is_expected_is_looked_up_and_encoded_once_it_is_needed() -> None:
    encoder, shared = Counting(), MemoryCache()
    cached = CachingEncoder(encoder, shared)
    expected = await expecting(cached)
    shared.hang = True  # the look-up is over
    assert encoder.calls == []
    expected.encode()
    await until(lambda: bool(encoder.calls))
    vectors = [await cached.embed_query("What is Atlas?") for _ in range(2)]
    expected.leave()
    assert vectors[0] == vectors[1] == await cached.embed_query("What is Atlas?")
    assert encoder.calls == ["What is Atlas?"]
    assert cached.statistics() == {"local_hits": 1, "shared_hits": 0, "joined": 1, "encoded": 1}


async def test_who_asks_for_what_is_expected_need_not_wait_until_it_is_known_to_be_needed() -> None:
    cached = CachingEncoder(Counting(), MemoryCache())
    expected = await expecting(cached)
    assert len(await cached.embed_query("What is Atlas?")) == 384
    expected.leave()


async def test_what_was_expected_and_not_needed_costs_no_encoding_and_is_not_joined() -> None:
    encoder = Counting()
    cached = CachingEncoder(encoder, MemoryCache())
    expected = await expecting(cached)
    expected.leave()
    assert len(await cached.embed_query("What is Atlas?")) == 384
    assert encoder.calls == ["What is Atlas?"]
    assert cached.statistics() == {"local_hits": 0, "shared_hits": 0, "joined": 0, "encoded": 1}


@pytest.mark.parametrize("other", ["expects", "asks"])
async def test_who_leaves_takes_nothing_from_another(other: str) -> None:
    encoder = Counting()
    encoder.gate = asyncio.Event()
    cached = CachingEncoder(encoder, MemoryCache())
    expected = await expecting(cached)
    if other == "expects":
        another = await expecting(cached)
        expected.leave()
        another.encode()
    asked = asyncio.create_task(cached.embed_query("What is Atlas?"))
    await until(lambda: bool(encoder.calls))
    if other == "asks":
        expected.leave()
    encoder.gate.set()
    assert len(await asked) == 384
    assert encoder.calls == ["What is Atlas?"]


async def test_what_is_expected_and_found_counts_as_shared_where_somebody_asks() -> None:
    encoder, shared = Counting(), MemoryCache()
    await CachingEncoder(encoder, shared).embed_query("What is Atlas?")
    unasked, asked = CachingEncoder(encoder, shared), CachingEncoder(encoder, shared)
    (await expecting(unasked)).leave()
    expected = await expecting(asked)
    for _ in range(2):
        await asked.embed_query("What is Atlas?")
    expected.leave()
    assert encoder.calls == ["What is Atlas?"]
    assert unasked.statistics() == {"local_hits": 0, "shared_hits": 0, "joined": 0, "encoded": 0}
    assert asked.statistics() == {"local_hits": 0, "shared_hits": 1, "joined": 1, "encoded": 0}
    assert unasked.expect("What is Atlas?") is not None  # it takes no place of one in use
    assert asked.expect("What is Atlas?") is None


async def test_a_failure_of_what_was_expected_is_not_remembered() -> None:
    encoder = Counting()
    cached = CachingEncoder(encoder, MemoryCache())
    encoder.failing = True
    expected = await expecting(cached)
    with pytest.raises(EncoderUnavailable):
        await cached.embed_query("What is Atlas?")
    encoder.failing = False
    assert len(await cached.embed_query("What is Atlas?")) == 384
    expected.leave()
    assert len(await cached.embed_query("What is Atlas?")) == 384
    assert len(encoder.calls) == 2


async def test_what_is_encoded_is_tracked_once_and_for_no_longer_than_that() -> None:
    encoder, happened = Counting(), []
    encoder.gate = asyncio.Event()

    @contextmanager
    def tracked() -> Iterator[None]:
        happened.append("begin")
        yield
        happened.append("end")

    cached = CachingEncoder(encoder, MemoryCache(), tracked)
    expected = await expecting(cached)
    assert happened == []
    expected.encode()
    askers = [asyncio.create_task(cached.embed_query("What is Atlas?")) for _ in range(3)]
    await until(lambda: bool(encoder.calls))
    assert happened == ["begin"]
    encoder.gate.set()
    await asyncio.gather(*askers)
    expected.leave()
    await cached.embed_query("What is Atlas?")
    assert happened == ["begin", "end"]
