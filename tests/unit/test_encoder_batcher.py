"""The batcher with a model that waits for the test."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from app.encoder.backend import Encoded, EncodingFailed, InputType, ModelFailed, ModelInfo
from app.encoder.batcher import Batcher, NotReady, Overloaded
from app.encoder.batching import Limits


class GatedBackend:
    """Encodes a text to itself; each batch waits until the test lets it go."""

    info = ModelInfo("gated", "1", 1, 256, "cpu", "none")

    def __init__(self) -> None:
        self.batches: list[tuple[InputType, list[str]]] = []
        self.threads: set[int] = set()
        self.gate = threading.Semaphore(0)
        self.started = threading.Semaphore(0)

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        self.threads.add(threading.get_ident())
        self.batches.append((input_type, list(texts)))
        self.started.release()
        assert self.gate.acquire(timeout=10)
        if "poison" in texts:
            raise EncodingFailed("no such text")
        if "broken" in texts:
            raise RuntimeError("out of memory")
        return Encoded(
            [text.encode() for text in texts], [1] * len(texts), ["long" in t for t in texts]
        )

    async def running(self) -> None:
        """Return when a further batch has begun."""
        assert await asyncio.to_thread(self.started.acquire, timeout=10)

    def let(self, batches: int = 1) -> None:
        self.gate.release(batches)


@pytest.fixture
async def backend() -> GatedBackend:
    return GatedBackend()


@pytest.fixture
async def batcher(backend: GatedBackend) -> AsyncIterator[Batcher]:
    batcher = Batcher(lambda: backend, lambda _: Limits(waiting_documents=4, batch_texts=4))
    await batcher.start()
    yield batcher
    backend.let(100)
    await batcher.stop(5)


async def test_a_lone_query_goes_straight_through(batcher: Batcher, backend: GatedBackend) -> None:
    backend.let()
    result = await batcher.submit(["question"], "query")
    assert (list(result.vectors), result.tokens) == ([b"question"], 1)
    assert backend.threads and threading.get_ident() not in backend.threads


async def test_what_arrives_while_a_batch_runs_shares_the_next(
    batcher: Batcher, backend: GatedBackend
) -> None:
    first = batcher.submit(["first"], "document")
    await backend.running()
    documents = batcher.submit(["a", "b"], "document")
    queries = [batcher.submit([text], "query") for text in ("q1", "q2")]
    backend.let(3)
    answers = [list((await future).vectors) for future in (first, documents, *queries)]
    assert answers == [[b"first"], [b"a", b"b"], [b"q1"], [b"q2"]]
    assert backend.batches == [
        ("document", ["first"]),
        ("query", ["q1", "q2"]),
        ("document", ["a", "b"]),
    ]
    assert len(backend.threads) == 1


async def test_a_request_larger_than_a_batch_comes_back_in_order(
    batcher: Batcher, backend: GatedBackend
) -> None:
    backend.let(3)
    texts = [f"text {number}" for number in range(9)]
    assert list((await batcher.submit(texts, "query")).vectors) == [t.encode() for t in texts]
    assert len(backend.batches) == 3


async def test_cancelled_requests_leave_the_queue(batcher: Batcher, backend: GatedBackend) -> None:
    running = batcher.submit(["running"], "document")
    await backend.running()
    gone = batcher.submit(["gone"] * 3, "document")
    stays = batcher.submit(["stays"], "document")
    with pytest.raises(Overloaded):
        batcher.submit(["one more"], "document")
    gone.cancel()
    await asyncio.sleep(0)  # its callback
    more = batcher.submit(["more"], "document")
    backend.let(2)
    await asyncio.gather(running, stays, more)
    assert [texts for _, texts in backend.batches] == [["running"], ["stays", "more"]]


async def test_cancelling_what_runs_harms_nobody(batcher: Batcher, backend: GatedBackend) -> None:
    gone = batcher.submit(["gone"], "query")
    await backend.running()
    gone.cancel()
    backend.let(2)
    assert list((await batcher.submit(["next"], "query")).vectors) == [b"next"]


async def test_a_text_that_cannot_be_encoded_fails_alone(
    batcher: Batcher, backend: GatedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    first = batcher.submit(["first"], "query")
    await backend.running()
    good = [batcher.submit([text], "query") for text in ("a", "b")]
    bad = batcher.submit(["c", "poison"], "query")
    backend.let(6)
    await asyncio.wait([first, *good, bad])
    assert [list(future.result().vectors) for future in good] == [[b"a"], [b"b"]]
    error = bad.exception()
    assert type(error) is EncodingFailed
    assert (str(error), error.index) == ("no such text", 1)
    batches = [texts for _, texts in backend.batches]
    assert batches == [["first"], ["a", "b", "c", "poison"], ["a"], ["b"], ["c"], ["poison"]]
    assert "one by one" in caplog.text
    assert batcher.metrics.statistics().failed == 1


async def test_a_fault_of_the_model_is_not_called_one_of_the_text(
    batcher: Batcher, backend: GatedBackend
) -> None:
    backend.let()
    with pytest.raises(ModelFailed, match="out of memory"):
        await batcher.submit(["broken"], "query")


async def test_a_request_that_has_failed_is_not_gone_on_with(
    batcher: Batcher, backend: GatedBackend
) -> None:
    bad = batcher.submit(["poison", *"abcde"], "query")
    backend.let(3)
    with pytest.raises(EncodingFailed):
        await bad
    backend.let(1)
    await batcher.submit(["next"], "query")
    batches = [texts for _, texts in backend.batches]
    assert batches == [["poison", "a", "b", "c"], ["poison"], ["next"]]


async def test_what_was_done_is_counted(batcher: Batcher, backend: GatedBackend) -> None:
    first = batcher.submit(["first"], "query")
    await backend.running()
    documents = batcher.submit(["a long text", "b"], "document")
    gone = batcher.submit(["gone", "gone"], "document")
    with pytest.raises(Overloaded) as refused:
        batcher.submit(["one more"], "document")
    assert refused.value.retry_after == 1
    assert batcher.metrics.statistics().waiting == 4
    gone.cancel()
    backend.let(2)
    assert (await documents).truncated == 1
    await first
    await asyncio.sleep(0)  # counted after the callers have their vectors
    done = batcher.metrics.statistics()
    assert (done.batches, done.texts, done.tokens, done.truncated) == (2, 3, 3, 1)
    assert (done.rejected, done.cancelled, done.failed, done.waiting) == (1, 1, 0, 0)
    assert done.mean_batch == 1.5
    assert done.encode_seconds > 0


async def test_stopping_lets_the_running_batch_finish_and_refuses_the_rest(
    batcher: Batcher, backend: GatedBackend
) -> None:
    running = batcher.submit(["running"], "query")
    await backend.running()
    queued = batcher.submit(["queued"], "query")
    stopping = asyncio.create_task(batcher.stop(5))
    with pytest.raises(NotReady):
        await queued
    backend.let()
    await stopping
    assert list(running.result().vectors) == [b"running"]
    assert batcher.info is None
    with pytest.raises(NotReady):
        batcher.submit(["late"], "query")


async def test_stopping_does_not_wait_for_a_batch_that_hangs(
    batcher: Batcher, backend: GatedBackend
) -> None:
    hanging = batcher.submit(["hanging"], "query")
    await backend.running()
    await batcher.stop(0)
    with pytest.raises(NotReady):
        await hanging


async def test_nothing_is_taken_before_the_model_is_loaded(backend: GatedBackend) -> None:
    batcher = Batcher(lambda: backend)
    assert batcher.info is None
    with pytest.raises(NotReady):
        batcher.submit(["early"], "query")
    await batcher.stop(0)
