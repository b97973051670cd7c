"""Accepting and indexing on fakes: order, refusals, outages, retries, shutdown."""

import asyncio
import threading
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from app.chat.model import Scope
from app.errors import (
    AppError,
    DatabaseUnavailable,
    EncoderUnavailable,
    InvalidInput,
    NotFound,
    TextNotEncodable,
    Unavailable,
)
from app.ingest.errors import EncodersChanged
from app.ingest.ingestor import DEADLY, MAX_ATTEMPTS, Ingestor
from app.ingest.places import Places
from app.ingest.ports import NewDocument
from app.ingest.prepare import prepare_here
from app.ingest.pruning import BATCH, Pruner
from tests.support.memory_stores import MemoryDocuments, MemoryEncoder, MemoryVectors, hashed

SCOPE = Scope(tenant_id=1)
LONG = "# Guide\n\n" + "\n\n".join(f"## Part {n}\n\n{'Some words. ' * 20}" for n in range(100))


def new(title: str = "T", text: str = "Some text.", **values: Any) -> NewDocument:
    return NewDocument(title, text, **values)


class Room:
    """An ingestor over fakes."""

    def __init__(self, **options: Any) -> None:
        self.documents = MemoryDocuments()
        self.encoder = MemoryEncoder()
        self.encoders = {self.encoder.name: self.encoder}
        self.vectors = MemoryVectors()
        self.progress: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        defaults: dict[str, Any] = {"pauses_seconds": (0, 0), "wait_seconds": 30.0}
        self.ingestor = Ingestor(
            self.documents,
            self.encoders,
            self.vectors,
            detect=self._detect,
            chunk_chars=300,
            max_document_bytes=100_000,
            on_progress=lambda _, done, total: self.progress.append((done, total)),
            **(defaults | options),
        )

    def _detect(self, text: str) -> str:
        self.threads.add(threading.get_ident())
        if "poison" in text:
            raise ZeroDivisionError(text)
        return "es" if "hola" in text else "en"

    async def accept(self, *documents: NewDocument) -> list[int]:
        accepted = await self.ingestor.accept(SCOPE, 1, documents)
        return [each.upload_id for each in accepted if each.upload_id is not None]

    async def ingest(self, *documents: NewDocument) -> None:
        await self.ingestor.index(await self.accept(*documents))

    def states(self) -> list[str]:
        return [record.status for record in self.documents.records.values()]

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.ingestor.run())
        try:
            yield task
        finally:
            await self.ingestor.close()
            await task

    async def until(self, *expected: str) -> list[str]:
        """The states that documents went through, to the last one expected."""
        states: list[str] = []
        while states[-len(expected) :] != list(expected):
            async with asyncio.timeout(10):
                states.append((await self.documents.changed.get())[0])
        return states


async def test_a_document_is_cut_encoded_and_stored_exactly() -> None:
    room = Room()
    await room.ingest(new("Guide", LONG), new("Saludo", "hola"))
    guide, saludo = room.documents.records.values()
    assert (guide.status, guide.language, guide.chunk_count) == ("indexed", "en", 100)
    assert saludo.language == "es"
    for chunk in room.documents.chunks[guide.id]:
        assert chunk.text == LONG[chunk.span.start : chunk.span.end]
    first, second = room.documents.chunks[guide.id][:2]
    vectors = room.documents.vectors[guide.id]["memory@1"]
    assert vectors[0] == array("f", hashed(f"Guide\n{first.text}"))
    assert vectors[1] == array("f", hashed(f"Guide\n{second.text}"))  # "Guide" is the title already
    assert sorted(len(call) for call in room.encoder.calls) == [1, 4, 32, 32, 32]
    assert [step for step in room.progress if step[1] == 100] == [
        (32, 100),
        (64, 100),
        (96, 100),
        (100, 100),
    ]
    assert threading.get_ident() not in room.threads


async def test_what_is_unchanged_costs_nothing() -> None:
    room = Room()
    await room.ingest(new(uri="a"))
    await room.ingest(new(uri="a"))
    assert len(room.encoder.calls) == 1
    await room.ingest(new(text="Another.", uri="a"))
    assert len(room.encoder.calls) == 2
    [record] = room.documents.records.values()
    assert record.text == "Another."
    await room.ingestor.index([])


@pytest.mark.parametrize(
    ("documents", "code", "sentence"),
    [
        ([], "empty_document", "The call has no documents"),
        ([new("One"), new("Two", " ")], "empty_document", "Document 2 (“Two”): The document has"),
        ([new("x" * 900)], "invalid_input", f"Document 1 (“{'x' * 80}”): `title`"),
        ([new("a\0\ud800b")], "invalid_text", "Document 1 (“a?b”): `title` has a NUL"),
        ([new(text="x" * 100_001)], "document_too_large", "100,000 bytes"),
        ([new(uri="a"), new("B", "b", uri="a")], "duplicate_document", "same uri as document 1"),
    ],
)
async def test_one_bad_document_refuses_the_call(
    documents: Sequence[NewDocument], code: str, sentence: str
) -> None:
    room = Room()
    with pytest.raises(AppError) as caught:
        await room.ingestor.accept(SCOPE, 1, documents)
    assert caught.value.code == code
    assert sentence in caught.value.message
    assert room.documents.records == {}


async def test_equal_texts_under_two_uris_are_two_documents() -> None:
    room = Room()
    await room.ingest(new(uri="a"), new(uri="b"), new())
    assert room.states() == ["indexed"] * 3


async def test_the_worker_indexes_what_is_accepted() -> None:
    room = Room()
    async with room.worker():
        await room.accept(*(new(uri=f"{n}") for n in range(10)))
        await room.until(*["indexed"] * 10)
    assert room.documents.waiting == {}


async def test_the_worker_finds_what_a_crash_left() -> None:
    room = Room()
    await room.documents.accept(SCOPE, 1, [new(uri=f"{n}") for n in range(10)])
    async with room.worker():
        await room.until(*["indexed"] * 10)


async def test_a_caller_that_waits_and_a_worker_share_the_work() -> None:
    room = Room()
    async with room.worker():
        for n in range(5):
            await room.ingest(*(new(text=f"{n}/{m}", uri=f"{n}/{m}") for m in range(6)))
            assert set(room.states()) == {"indexed"}
    assert len(room.encoder.calls) == 30


async def test_waiting_for_what_the_worker_has_begun() -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    async with room.worker():
        uploads = await room.accept(new())
        await room.encoder.entered.wait()  # the worker has it
        waiting = asyncio.create_task(room.ingestor.index(uploads))
        await asyncio.sleep(0)
        assert not waiting.done()
        room.encoder.gate.set()
        await waiting
    assert room.states() == ["indexed"]
    assert len(room.encoder.calls) == 1


class OtherProcess(MemoryDocuments):
    """Another process holds everything, and is done when looked at for the second time."""

    async def get(self, scope: Scope, document_id: int) -> Any:
        record = await super().get(scope, document_id)
        if self.looks == 2:
            for upload_id in list(self.elsewhere):
                self.finish_elsewhere(upload_id)
        return record


async def test_waiting_for_what_another_process_holds() -> None:
    room = Room()
    documents = OtherProcess()
    room.ingestor._documents = documents
    uploads = await room.accept(new())
    documents.elsewhere |= set(uploads)
    await room.ingestor.index(uploads)
    assert [record.status for record in documents.records.values()] == ["indexed"]
    assert room.encoder.calls == []


async def test_waiting_for_another_process_has_an_end() -> None:
    room = Room(wait_seconds=0)
    uploads = await room.accept(new())
    room.documents.elsewhere |= set(uploads)
    await room.ingestor.index(uploads)
    assert room.states() == ["pending"]
    await room.documents.delete(SCOPE, next(iter(room.documents.records)))
    await room.ingestor.index(uploads)  # gone is done
    await room.ingestor.index([999])


async def test_a_waiting_caller_hears_of_an_outage_and_the_worker_ends_it() -> None:
    room = Room()
    room.encoder.faults = [EncoderUnavailable()]
    await room.ingest(new())
    [(_, sentence, final)] = room.documents.failures
    assert not final
    assert sentence.startswith("Not indexed yet, to be tried again: The encoder is not available")
    async with room.worker():
        await room.until("failed", "indexed")


async def test_the_worker_outlasts_an_outage() -> None:
    room = Room()
    room.encoder.faults = [EncoderUnavailable(), EncoderUnavailable()]
    room.documents.faults = {
        "claim": [DatabaseUnavailable(), OSError("reset")],
        "index": [DatabaseUnavailable()],
    }
    async with room.worker():
        await room.accept(new())
        assert await room.until("indexed") == ["indexed"]
    assert room.documents.failures == []


async def test_one_bad_upload_stops_nobody_and_is_given_up() -> None:
    room = Room()
    async with room.worker() as worker:
        await room.accept(new("Bad", "poison"), new("Good", "fine"))
        states = await room.until(*["failed"] * 2)
        while states.count("failed") < MAX_ATTEMPTS:
            states += await room.until("failed")
        assert states.count("indexed") == 1
        assert not worker.done()
    assert [final for _, _, final in room.documents.failures] == [False] * 4 + [True]
    sentence = room.documents.failures[-1][1]
    assert sentence == (
        "Not indexed after 5 attempts: something went wrong in the service. Send it again."
    )
    assert "poison" not in sentence


async def test_an_outage_however_long_is_said_and_loses_nothing() -> None:
    room = Room()
    tries = 3 * MAX_ATTEMPTS  # each with two pauses
    room.encoder.faults = [EncoderUnavailable() for _ in range(3 * tries)]
    async with room.worker():
        await room.accept(new())
        await room.until(*["failed"] * tries, "indexed")
    assert not any(final for _, _, final in room.documents.failures)
    assert "The encoder is not available" in room.documents.failures[-1][1]


async def test_cutting_that_is_away_is_waited_for_too() -> None:
    faults: list[AppError] = [Unavailable() for _ in range(2)]

    async def prepare(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return await prepare_here(*arguments)

    room = Room(prepare=prepare)
    async with room.worker():
        await room.accept(new())
        await room.until("indexed")
    assert not room.documents.failures


async def test_what_processes_died_of_is_worked_on_alone_and_given_up() -> None:
    room = Room()
    ids = await room.accept(*(new(uri=f"{n}") for n in range(4)))
    for number, claims in zip(ids, (0, 1, MAX_ATTEMPTS, 0), strict=True):
        room.documents.waiting[number] = replace(room.documents.waiting[number], attempts=claims)
    room.encoder.gate = asyncio.Event()
    indexing = asyncio.create_task(room.ingestor.index(ids))
    await room.encoder.entered.wait()
    await room.until("failed")
    assert room.documents.failures == [(ids[2], DEADLY.format(MAX_ATTEMPTS), True)]
    room.encoder.gate.set()
    await indexing
    assert room.states() == ["indexed", "indexed", "failed", "indexed"]


async def test_who_has_to_be_alone_has_all_places() -> None:
    places, inside, most = Places(3), 0, 0

    async def work(*, alone: bool) -> None:
        nonlocal inside, most
        async with places.place(alone=alone):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            assert not alone or inside == 1
            inside -= 1

    await asyncio.gather(*(work(alone=number % 3 == 0) for number in range(30)))
    assert most == 3


async def test_what_can_never_be_indexed_is_not_tried_again() -> None:
    room = Room()
    room.documents.faults = {"index": [InvalidInput("It has no place here.")]}
    await room.ingest(new())
    assert room.documents.failures[0][1:] == ("It has no place here.", True)


async def test_a_text_without_a_vector_is_named_and_not_tried_again() -> None:
    room = Room()
    room.encoder.faults = [TextNotEncodable(index=1)]
    async with room.worker():
        await room.accept(new("Guide", LONG))
        assert await room.until("failed") == ["failed"]
    [(_, sentence, final)] = room.documents.failures
    assert sentence.startswith("The encoder memory@1 has no vector for the part “Guide ## Part 1 ")
    assert sentence.endswith("”; change or remove it and send the document again.")
    assert (final, len(room.encoder.calls)) == (True, 1)


async def test_an_upload_that_cannot_be_released_is_left_to_lapse() -> None:
    room = Room()
    room.encoder.faults = [EncoderUnavailable()]
    room.documents.faults = {"fail": [DatabaseUnavailable()]}
    await room.ingest(new())
    assert room.states() == ["pending"]


async def test_closing_hands_back_what_was_begun() -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    async with room.worker():
        await room.accept(*(new(uri=f"{n}") for n in range(6)))
        await room.encoder.entered.wait()
    assert room.documents.failures
    assert all(not final for _, _, final in room.documents.failures)
    assert room.documents.claimed == set()
    assert len(room.documents.waiting) == 6


async def test_a_claim_is_renewed_while_its_text_is_worked_on() -> None:
    room = Room(renew_seconds=0.001)
    room.encoder.gate = asyncio.Event()
    room.documents.faults = {"keep": [DatabaseUnavailable()]}  # an outage is outlasted
    async with room.worker():
        ids = await room.accept(new(uri="a"), new(uri="b"))
        await room.encoder.entered.wait()
        async with asyncio.timeout(10):
            while await room.documents.kept.get() != set(ids):
                pass
        room.encoder.gate.set()
        await room.until("indexed", "indexed")
    assert "claims" not in {
        task.get_name() for task in asyncio.all_tasks() if not task.cancelling()
    }


async def test_cancelling_the_worker_is_closing() -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    task = asyncio.create_task(room.ingestor.run())
    await room.accept(new())
    await room.encoder.entered.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert room.documents.claimed == set()


async def test_a_caller_that_leaves_does_not_stop_the_indexing() -> None:
    room = Room()
    room.encoder.gate = asyncio.Event()
    caller = asyncio.create_task(room.ingest(new()))
    await room.encoder.entered.wait()
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    room.encoder.gate.set()
    await room.until("indexed")


async def test_a_portfolio_that_is_not_there() -> None:
    room = Room()
    room.documents.faults = {"accept": [NotFound()]}
    with pytest.raises(NotFound):
        await room.accept(new())


def two_encoders(room: Room) -> MemoryEncoder:
    """A second encoder that the room's ingestor is configured with."""
    second = MemoryEncoder("second@1")
    room.encoders[second.name] = second
    return second


async def test_a_text_is_encoded_once_however_often_it_comes() -> None:
    room = Room()
    same = "Copied words. " * 19
    await room.ingest(new("One", "\n\n".join([same] * 100), uri="a"))
    encoded = [text for call in room.encoder.calls for text in call]
    assert len(encoded) == len(set(encoded)) < 10
    await room.ingest(new("One", "\n\n".join([same] * 100), uri="b"))
    assert sum(len(call) for call in room.encoder.calls) == len(encoded)
    await room.ingest(new("Two", same, uri="a"))  # the title is encoded, too
    assert room.encoder.calls[-1] == [f"Two\n{same.strip()}"]


async def test_a_failure_while_encoding_keeps_what_was_encoded() -> None:
    room = Room()
    texts = "\n\n".join(f"{n}. {'Some words. ' * 20}" for n in range(100))
    room.documents.faults = {"index": [DatabaseUnavailable()]}
    [upload_id] = await room.accept(new(text=texts))
    await room.ingestor.index([upload_id])
    calls = len(room.encoder.calls)
    await room.ingestor.index([upload_id])
    assert room.states() == ["indexed"]
    assert len(room.encoder.calls) == calls


async def test_while_an_encoder_is_replaced_both_encode() -> None:
    room = Room()
    second = two_encoders(room)
    room.documents.needed = ("memory@1", "second@1")
    await room.ingest(new())
    [vectors] = room.documents.vectors.values()
    assert vectors.keys() == {"memory@1", "second@1"}
    assert room.encoder.calls == second.calls == [["T\nSome text."]]


async def test_encoders_that_change_while_a_document_is_encoded() -> None:
    room = Room()
    second = two_encoders(room)
    room.encoder.gate = asyncio.Event()
    ingesting = asyncio.create_task(room.ingest(new()))
    await room.encoder.entered.wait()
    room.documents.needed = ("second@1",)
    room.encoder.gate.set()
    await ingesting
    assert room.states() == ["indexed"]
    assert (len(room.encoder.calls), len(second.calls)) == (1, 1)


async def test_encoders_that_never_stop_changing_are_left_for_later() -> None:
    room = Room()
    room.documents.faults = {"index": [EncodersChanged() for _ in range(3)]}
    await room.ingest(new())
    [(_, sentence, final)] = room.documents.failures
    assert not final
    assert "encoder was changed" in sentence
    async with room.worker():
        await room.until("failed", "indexed")
    assert len(room.encoder.calls) == 1


async def test_an_upload_for_another_processs_encoder_is_left_to_it() -> None:
    room = Room()
    room.documents.needed = ("elsewhere@1",)
    await room.ingest(new())
    assert room.states() == ["pending"]
    [record] = room.documents.records.values()
    assert record.error is not None
    assert "not configured with the encoder elsewhere@1" in record.error
    assert not room.documents.failures


async def test_the_worker_prunes_rarely() -> None:
    room = Room()
    room.vectors.expired = 10
    async with room.worker():
        for n in range(5):
            await room.accept(new(text=f"{n}"))
            await room.until("indexed")
    assert room.vectors.expired == 0
    assert room.vectors.prunings == 1


async def test_pruning_goes_on_soon_while_there_is_more() -> None:
    now = 0.0
    vectors = MemoryVectors(expired=2 * BATCH + 1)
    pruner = Pruner(vectors, lambda: now)
    expected = [(0, 1), (1, 1), (5, 2), (6, 2), (10, 3), (3000, 3), (3610, 4)]
    for now, prunings in expected:  # noqa: B007 — the clock reads it
        await pruner.prune_when_due()
        assert vectors.prunings == prunings
    assert vectors.expired == 0
