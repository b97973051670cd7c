"""The encoder as a library, with the real model (exported, because it starts in half a second)."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.encoder.batcher import NotReady
from app.encoder.embedder import PART, BatchEmbedder
from app.errors import InvalidInput
from tests.support.encoder import cosine


@pytest.fixture(scope="module")
async def embedder(exports: Path) -> AsyncIterator[BatchEmbedder]:
    async with BatchEmbedder(backend="onnx", cache=exports) as embedder:
        yield embedder


async def test_a_text_and_a_batch(embedder: BatchEmbedder) -> None:
    assert (embedder.info.dimension, embedder.info.languages) == (384, ("en",))
    query = await embedder.embed_text("Which database does the shop use?")
    near, far = await embedder.embed_batch(["The shop uses Postgres.", "Bake at a high heat."])
    assert math.hypot(*query) == pytest.approx(1, abs=1e-3)
    assert cosine(query, near) > cosine(query, far) + 0.2
    assert await embedder.embed_batch([]) == []


async def test_texts_of_many_tasks_share_batches(embedder: BatchEmbedder) -> None:
    before = embedder.statistics()
    texts = [f"question {number}" for number in range(64)]
    vectors = await asyncio.gather(*map(embedder.embed_text, texts))
    after = embedder.statistics()
    assert after.texts - before.texts == 64
    assert after.batches - before.batches <= 3
    assert after.tokens > before.tokens
    assert (after.waiting, after.failed) == (0, 0)
    assert after.mean_batch > 1
    alone = await embedder.embed_text(texts[40])
    assert cosine(alone, vectors[40]) == pytest.approx(1, abs=1e-4)


async def test_a_batch_larger_than_the_queue_of_a_service(embedder: BatchEmbedder) -> None:
    texts = [f"number {number}" for number in range(2 * PART + 5)]
    vectors = await embedder.embed_batch(texts)
    assert len(vectors) == len(texts)
    for index in (0, PART - 1, PART, len(texts) - 1):
        [alone] = await embedder.embed_batch([texts[index]])
        assert cosine(alone, vectors[index]) == pytest.approx(1, abs=1e-4)


async def test_a_cancelled_call_takes_its_texts_along(embedder: BatchEmbedder) -> None:
    call = asyncio.create_task(embedder.embed_batch(["word " * 100] * 3 * PART))
    await asyncio.sleep(0)
    assert embedder.statistics().waiting == 2 * PART
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0)  # the callbacks of its futures
    assert embedder.statistics().waiting == 0
    assert embedder.statistics().cancelled == 2


async def test_empty_texts_are_refused(embedder: BatchEmbedder) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await embedder.embed_batch(["a", ""])


async def test_it_works_inside_of_async_with_only() -> None:
    embedder = BatchEmbedder()
    with pytest.raises(RuntimeError, match="async with"):
        _ = embedder.info
    with pytest.raises(NotReady):
        await embedder.embed_text("text")
