"""The reranker's batches, its HTTP form, and its queue with a model that waits for the test."""

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.encoder.backend import Encoded, InputType, ModelInfo
from app.encoder.batcher import Batcher, NotReady, Overloaded
from app.encoder.batching import Limits
from app.encoder.rerank import PairTooLong, RerankerInfo, RerankFailed, batches
from app.encoder.rerank_queue import MAX_WAITING, RerankQueue
from app.encoder.rerank_wire import parse, render, sigmoid

LONG = "a" * 4000  # a batch of its own: some 1,000 tokens
PATIENCE = 30


class GatedReranker:
    """A text's score is its length; each batch waits until the test lets it go."""

    info = RerankerInfo("gated", "1", 2048, "cpu")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.gate = threading.Semaphore(0)
        self.started = threading.Semaphore(0)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.threads.add(threading.get_ident())
        self.batches.append(list(texts))
        self.started.release()
        assert self.gate.acquire(timeout=PATIENCE)
        if query == "poison":
            raise RuntimeError("no such query")
        return [math.nan if text == "poison" else float(len(text)) for text in texts]

    def first_too_long(self, query: str, texts: Sequence[str]) -> int | None:
        self.threads.add(threading.get_ident())
        return next((index for index, text in enumerate(texts) if len(text) > 10), None)

    async def running(self) -> None:
        """Return when a further batch has begun."""
        assert await asyncio.to_thread(self.started.acquire, timeout=PATIENCE)

    def let(self, batches: int = 1) -> None:
        self.gate.release(batches)


@pytest.fixture
async def model() -> GatedReranker:
    return GatedReranker()


@pytest.fixture
async def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def queue(model: GatedReranker, registry: CollectorRegistry) -> AsyncIterator[RerankQueue]:
    queue = RerankQueue(lambda: Path("folder"), lambda folder: model, registry)
    await queue.find()
    await queue.start()
    yield queue
    queue.stop()
    model.let(100)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([10], [[0]]),
        ([10, 4000, 10], [[1], [0, 2]]),
        ([4000, 4000], [[0], [1]]),
        ([1000] * 5, [[0, 1, 2, 3], [4]]),
        ([4] * 100, [list(range(64)), list(range(64, 100))]),
        ([100_000, 4], [[0], [1]]),
    ],
)
def test_texts_of_like_length_share_a_batch(
    lengths: Sequence[int], expected: Sequence[Sequence[int]]
) -> None:
    texts = ["a" * length for length in lengths]
    assert batches("what?", texts, 2048, Limits()) == expected


def test_the_answer_is_best_first_and_equal_ones_stay_in_their_order() -> None:
    request = parse(b'{"query": "q", "texts": ["a", "b", "c"], "return_text": true}')
    ranks = json.loads(render(request, [1.0, 40.0, 1.0]))
    assert [(rank["index"], rank["text"]) for rank in ranks] == [(1, "b"), (0, "a"), (2, "c")]
    # Where the sigmoid is one for both, the order is still the model's.
    ranks = json.loads(render(request, [900.0, 901.0, -900.0]))
    assert [(rank["index"], rank["score"]) for rank in ranks] == [(1, 1.0), (0, 1.0), (2, 0.0)]


@pytest.mark.parametrize("number", [-1e308, -2.0, 0.0, 2.0, 1e308])
def test_a_sigmoid_is_between_0_and_1(number: float) -> None:
    assert sigmoid(number) + sigmoid(-number) == pytest.approx(1)


async def test_the_scores_are_in_the_order_of_the_texts(
    queue: RerankQueue, model: GatedReranker
) -> None:
    model.let(2)
    assert await queue.submit("q", ["abc", LONG, "a"]) == [3.0, 4000.0, 1.0]
    assert model.batches == [[LONG], ["abc", "a"]]


async def test_requests_come_one_after_the_other_in_one_thread(
    queue: RerankQueue, model: GatedReranker
) -> None:
    model.let(4)
    first, second = queue.submit("q", [LONG, "b"]), queue.submit("q", ["ccc"], truncate=False)
    assert (await first, await second) == ([4000.0, 1.0], [3.0])
    assert model.batches == [[LONG], ["b"], ["ccc"]]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


class Same:
    """An encoder's backend that gives every text the same vector."""

    info = ModelInfo("same", "1", 1, 256, "cpu", "none")

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        return Encoded([b"\0\0\x80?"] * len(texts), [1] * len(texts), [False] * len(texts))


async def test_a_question_is_encoded_while_a_batch_of_pairs_runs(
    queue: RerankQueue, model: GatedReranker
) -> None:
    batcher = Batcher(Same)
    await batcher.start()
    ranked = queue.submit("q", ["abc"])
    await model.running()
    async with asyncio.timeout(PATIENCE):
        assert (await batcher.submit(["what?"], "query")).tokens == 1
    assert not ranked.done()
    model.let()
    await ranked
    await batcher.stop(0)


async def test_whoever_leaves_costs_no_further_batch(
    queue: RerankQueue, model: GatedReranker, registry: CollectorRegistry
) -> None:
    leaving = queue.submit("q", [LONG] * 10)
    waiting = queue.submit("q", ["never"])
    staying = queue.submit("q", ["abc"])
    await model.running()
    leaving.cancel()
    waiting.cancel()
    model.let(2)
    assert await staying == [3.0]
    assert model.batches == [[LONG], ["abc"]]
    assert b"encoder_rerank_cancelled_total 2.0" in generate_latest(registry)


async def test_a_failure_is_its_requests_own(
    queue: RerankQueue, model: GatedReranker, registry: CollectorRegistry
) -> None:
    model.let(3)
    raised = queue.submit("poison", ["a"])
    no_number = queue.submit("q", ["a", "poison"])
    too_long = queue.submit("q", ["a", LONG], truncate=False)
    fine = queue.submit("q", ["abc"])
    with pytest.raises(RerankFailed, match="no such query"):
        await raised
    with pytest.raises(RerankFailed) as failed:
        await no_number
    with pytest.raises(PairTooLong) as long:
        await too_long
    assert (failed.value.index, long.value.index) == (1, 1)
    assert await fine == [3.0]
    assert b"encoder_rerank_failed_total 2.0" in generate_latest(registry)


async def test_what_would_wait_too_long_is_refused_whole(
    queue: RerankQueue, model: GatedReranker, registry: CollectorRegistry
) -> None:
    queue.submit("q", ["a"] * MAX_WAITING)
    with pytest.raises(Overloaded) as overloaded:
        queue.submit("q", ["b"])
    assert overloaded.value.retry_after >= 1
    rendered = generate_latest(registry)
    assert b"encoder_rerank_rejected_total 1.0" in rendered
    assert f"encoder_rerank_waiting_texts {MAX_WAITING:.1f}".encode() in rendered


async def test_nothing_is_ranked_before_the_start_and_after_the_end(
    queue: RerankQueue, model: GatedReranker
) -> None:
    new = RerankQueue(lambda: Path("folder"), lambda folder: model, CollectorRegistry())
    with pytest.raises(NotReady):
        new.submit("q", ["a"])
    running, waiting = queue.submit("q", ["a"]), queue.submit("q", ["b"])
    await model.running()
    queue.stop()
    for future in (running, waiting):
        with pytest.raises(NotReady):
            await future
    with pytest.raises(NotReady):
        queue.submit("q", ["c"])
