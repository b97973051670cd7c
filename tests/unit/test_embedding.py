"""Each text is encoded once for a tenant and an encoder: within a call, later, and at once."""

import asyncio

import pytest

from app.chat.model import Scope
from app.errors import EncoderUnavailable
from app.ingest.embedding import Embedder, text_hash
from tests.support.memory_stores import MemoryEncoder, MemoryVectors, hashed

SCOPE, OTHER = Scope(1), Scope(2)


class Room:
    def __init__(self) -> None:
        self.encoder, self.second = MemoryEncoder(), MemoryEncoder("second@1")
        self.vectors = MemoryVectors()
        encoders = {each.name: each for each in (self.encoder, self.second)}
        self.embedder = Embedder(encoders, self.vectors)

    async def embed(self, *texts: str, scope: Scope = SCOPE, encoder: str = "memory@1") -> None:
        vectors = await self.embedder.embed(scope, encoder, texts)
        assert [list(vector) for vector in vectors] == [hashed(text) for text in texts]

    @property
    def encoded(self) -> list[str]:
        return [text for call in self.encoder.calls for text in call]


async def test_repeated_texts_are_encoded_once_and_answered_in_order() -> None:
    room = Room()
    await room.embed("a", "b", "a", "c", "b")
    assert room.encoder.calls == [["a", "b", "c"]]
    await room.embed("c", "d", "a")
    await room.embed("d")
    await room.embed()
    assert room.encoder.calls == [["a", "b", "c"], ["d"]]


async def test_tenants_and_encoders_have_their_own() -> None:
    room = Room()
    await room.embed("a")
    await room.embed("a", scope=OTHER)
    await room.embed("a", encoder="second@1")
    assert (room.encoded, room.second.calls) == (["a", "a"], [["a"]])
    assert room.vectors.kept.keys() == {
        (1, "memory@1", text_hash("a")),
        (2, "memory@1", text_hash("a")),
        (1, "second@1", text_hash("a")),
    }


async def test_at_once_they_wait_for_each_other() -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    calls = [("a", "b"), ("b", "c"), ("c", "a"), ("a",), ("d", "b")]
    tasks = [asyncio.create_task(room.embed(*texts)) for texts in calls]
    tasks.append(asyncio.create_task(room.embed("a", scope=OTHER)))  # who waits for nobody
    await room.encoder.entered.wait()
    room.encoder.gate.set()
    await asyncio.gather(*tasks)
    assert sorted(room.encoded) == ["a", "a", "b", "c", "d"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_waited_takes_over_from_who_failed(cancelled: bool) -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    room.encoder.faults = [] if cancelled else [EncoderUnavailable()]
    first = asyncio.create_task(room.embed("a"))
    await room.encoder.entered.wait()
    second = asyncio.create_task(room.embed("a", "b"))
    third = asyncio.create_task(room.embed("a"))
    await asyncio.sleep(0)
    if cancelled:
        first.cancel()
        await asyncio.wait({first})
    room.encoder.gate.set()
    await asyncio.gather(second, third)
    with pytest.raises(asyncio.CancelledError if cancelled else EncoderUnavailable):
        await first
    assert room.encoded.count("a") == 2


async def test_an_encoder_that_gives_too_few_vectors_keeps_nothing() -> None:
    class Short(MemoryEncoder):
        async def embed_documents(self, texts: object) -> list[list[float]]:
            return [[1.0]]

    room = Room()
    embedder = Embedder({"short": Short("short")}, room.vectors)
    with pytest.raises(ValueError, match="zip"):
        await embedder.embed(SCOPE, "short", ["a", "b"])
    assert room.vectors.kept == {}
    with pytest.raises(EncoderUnavailable, match="not configured with the encoder none"):
        await embedder.embed(SCOPE, "none", ["a"])
