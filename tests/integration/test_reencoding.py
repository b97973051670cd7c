"""From one encoder to another while both are in use: complete, resumable, never mixed."""

import asyncio
from itertools import count
from typing import Any

import pytest

from app.chat.model import Question, Scope
from app.chat.ports import RetrievalRequest
from app.embedded import Servers
from app.errors import Conflict, EncoderUnavailable, NotFound
from app.ingest.errors import EncodersChanged
from app.ingest.ports import NewDocument
from app.ingest.reencode import AT_ONCE
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources.keyword import KeywordSource
from app.retrieval.sources.vector import VectorSource
from app.stores.encoder_indexes import register_encoder
from app.stores.encoders import hold_encoders
from app.stores.portfolios import PgPortfolios
from app.stores.vector_indexes import VectorIndexes
from tests.support.pg_stores import Stores, chunks_of
from tests.support.reencoding import DenseEncoder, Shelf

OLD, NEW = "dense-384", "dense-256"
TEXTS = [f"word{number} is what document {number} is about." for number in range(30)]
INDEXES = """
SELECT e.name FROM encoders e WHERE has_vector_index($1, e.id) ORDER BY 1
"""


@pytest.fixture(scope="module")
async def registered(stores: Stores, migrated: Servers) -> None:
    await register_encoder(migrated.owner_url, OLD, 384)
    await register_encoder(migrated.owner_url, NEW, 256)


@pytest.fixture
def shelf(stores: Stores, scope: Scope, registered: None) -> Shelf:
    return Shelf(stores, scope, DenseEncoder(OLD, 384), DenseEncoder(NEW, 256))


async def test_a_portfolio_is_filled_switched_and_cleared(shelf: Shelf) -> None:
    portfolio_id, empty_id = await shelf.portfolio(*TEXTS), await shelf.portfolio()
    before = await shelf.portfolios.get(shelf.scope, portfolio_id)
    steps: list[tuple[str, int, int]] = []
    outcome = await shelf.reencoder(NEW).run(on_progress=lambda *step: steps.append(step))
    assert (outcome.switched, outcome.added, outcome.dropped) == (2, 30, 30)
    assert steps[-1] == ("Dropping old vectors", 30, 30)
    assert [step[1] for step in steps] == sorted(step[1] for step in steps)
    assert {step[0] for step in steps[:-1]} == {before.name}
    assert await shelf.vectors(portfolio_id) == {NEW: 30}
    assert shelf.retired == [{NEW}]
    for each in (portfolio_id, empty_id):
        state = await shelf.state(each)
        assert (state.encoder, state.next_encoder) == (NEW, None)
    after = await shelf.portfolios.get(shelf.scope, portfolio_id)
    assert (after.version, after.chunk_count) == (before.version + 1, before.chunk_count)
    assert sorted(shelf.encoders[NEW].texts) == sorted(shelf.encoders[OLD].texts)

    again = await shelf.reencoder(NEW).run()
    assert (again.switched, again.added, again.dropped) == (0, 0, 0)
    assert len(shelf.encoders[NEW].texts) == 30
    assert (await shelf.portfolios.get(shelf.scope, portfolio_id)).version == after.version


async def test_headings_are_encoded_as_they_were_when_indexed(shelf: Shelf) -> None:
    guide = "# Guide\n\n" + "\n\n".join(
        f"## Part {n}\n\n### Detail\n\n{f'Some words of {n}. ' * 20}" for n in range(40)
    )
    portfolio_id = await shelf.portfolio(guide)
    await shelf.reencoder(NEW).run()
    assert (await shelf.vectors(portfolio_id))[NEW] >= 40
    assert sorted(shelf.encoders[NEW].texts) == sorted(shelf.encoders[OLD].texts)


async def test_only_the_named_portfolio(shelf: Shelf) -> None:
    chosen, other = await shelf.portfolio(*TEXTS[:3]), await shelf.portfolio(*TEXTS[:3])
    outcome = await shelf.reencoder(NEW).run((await shelf.state(chosen)).name)
    assert outcome.switched == 1
    assert (await shelf.state(chosen)).encoder == NEW
    assert await shelf.vectors(other) == {OLD: 3}
    assert shelf.retired == [{OLD, NEW}]
    with pytest.raises(NotFound):
        await shelf.reencoder(NEW).run("no such portfolio")


async def test_stopped_anywhere_it_goes_on_where_it_was(shelf: Shelf) -> None:
    portfolio_id, new = await shelf.portfolio(*TEXTS), shelf.encoders[NEW]
    for fault in (RuntimeError("crash"), EncoderUnavailable()):
        new.faults = [*[None] * 4, fault]  # the fifth begins when three are stored
        with pytest.raises(type(fault)):
            await shelf.reencoder(NEW, batch=2).run()
        state = await shelf.state(portfolio_id)
        assert (state.encoder, state.next_encoder) == (OLD, NEW)
        assert (await shelf.vectors(portfolio_id))[OLD] == 30
    new.gate = asyncio.Event()
    new.entered.clear()
    killed = asyncio.create_task(shelf.reencoder(NEW, batch=2).run())
    await new.entered.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    new.gate = None
    assert 0 < (await shelf.vectors(portfolio_id))[NEW] < 30
    await shelf.reencoder(NEW).run()
    assert await shelf.vectors(portfolio_id) == {NEW: 30}
    # Again is encoded only what a stop found encoded and not yet kept: less than two batches.
    assert len(set(new.texts)) == 30
    assert len(new.texts) <= 30 + 3 * AT_ONCE * 2


async def test_several_at_once_share_the_work(shelf: Shelf) -> None:
    ids = [await shelf.portfolio(*(f"{name}{n} text" for n in range(60))) for name in "ab"]
    outcomes = await asyncio.gather(*(shelf.reencoder(NEW).run() for _ in range(3)))
    assert sum(outcome.added for outcome in outcomes) == 120
    assert sum(outcome.dropped for outcome in outcomes) == 120
    assert sum(outcome.switched for outcome in outcomes) == 2
    for portfolio_id in ids:
        assert await shelf.vectors(portfolio_id) == {NEW: 60}
        assert (await shelf.portfolios.get(shelf.scope, portfolio_id)).version == 62


async def test_what_changes_during_the_backfill_is_complete_after_it(shelf: Shelf) -> None:
    portfolio_id, new = await shelf.portfolio(*TEXTS), shelf.encoders[NEW]
    kept, changed, deleted = [
        (await shelf.add(portfolio_id, **{name: f"{name} as it was"}))[0] for name in "kcd"
    ]
    new.gate = asyncio.Event()
    working = asyncio.create_task(shelf.reencoder(NEW).run())
    await new.entered.wait()  # chunks of all documents are read and being encoded
    adding = asyncio.create_task(shelf.add(portfolio_id, "added while it runs", c="c changed"))
    await shelf.stores.documents.delete(shelf.scope, deleted)
    new.gate.set()
    [added, replaced] = await adding
    await working
    assert replaced == changed
    assert await shelf.vectors(portfolio_id) == {NEW: 33}
    hits = await search(shelf, portfolio_id, NEW, limit=100)
    assert {hit.document_id for hit in hits} >= {kept, changed, added}
    assert {hit.text for hit in hits if hit.document_id == changed} == {"c changed"}
    assert shelf.encoders[NEW].saw("question", hits)


async def test_a_document_encoded_before_the_mark_is_encoded_again(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(*TEXTS[:2])
    [accepted] = await shelf.stores.documents.accept(
        shelf.scope, portfolio_id, [NewDocument("late", "late")]
    )
    upload = await shelf.stores.claimed(accepted.upload_id or 0)
    assert await shelf.stores.documents.encoders(upload) == [OLD]
    state = await shelf.state(portfolio_id)
    await shelf.reencoding.mark(state, NEW)
    assert await shelf.stores.documents.encoders(upload) == [OLD, NEW]
    old, both = ({name: [shelf.encoders[name].vector("late")] for name in names}
                 for names in ([OLD], [OLD, NEW]))  # fmt: skip
    with pytest.raises(EncodersChanged):
        await shelf.stores.documents.index(upload, "en", chunks_of("late"), old)
    assert await shelf.vectors(portfolio_id) == {OLD: 2}
    assert not await shelf.reencoding.switch(state, NEW)
    await shelf.reencoder(NEW).run()
    await shelf.stores.documents.index(upload, "en", chunks_of("late"), both)
    assert await shelf.vectors(portfolio_id) == {NEW: 3}


async def test_a_switch_waits_for_the_document_that_is_being_stored(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(*TEXTS[:2])
    state = await shelf.state(portfolio_id)
    async with shelf.stores.database.transaction(shelf.scope) as writer:
        await hold_encoders(writer, portfolio_id)
        marking = asyncio.create_task(shelf.reencoding.mark(state, NEW))
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(10):
            while not await shelf.stores.behind(waiting):
                pass
        assert not marking.done()
    await marking
    assert (await shelf.state(portfolio_id)).next_encoder == NEW


async def test_vectors_of_a_wrong_dimension_are_refused(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(*TEXTS[:2])
    shelf.encoders[NEW].dimension = 384  # not what it was registered with
    with pytest.raises(EncoderUnavailable, match=r"384 values where dense-256 has 256"):
        await shelf.reencoder(NEW).run()
    [accepted] = await shelf.stores.documents.accept(
        shelf.scope, portfolio_id, [NewDocument("t", "text")]
    )
    await shelf.ingestor().index([accepted.upload_id or 0])
    record = await shelf.stores.documents.get(shelf.scope, accepted.document_id)
    assert record.status == "failed"
    assert "384 values where dense-256 has 256" in (record.error or "")
    assert await shelf.vectors(portfolio_id) == {OLD: 2}
    state = await shelf.state(portfolio_id)
    chunks = [each for page in await shelf.reencoding.missing(state, NEW, 0, 9) for each in
              page.chunk_ids]  # fmt: skip
    for vector in ([0.5] * 255, [0.5] * 257, []):
        with pytest.raises(EncoderUnavailable):
            await shelf.reencoding.add(state, NEW, chunks, [vector] * len(chunks))


async def test_two_targets_at_once_are_a_conflict_and_back_is_a_way(shelf: Shelf) -> None:
    portfolio_id, new = await shelf.portfolio(*TEXTS), shelf.encoders[NEW]
    new.gate = asyncio.Event()
    working = asyncio.create_task(shelf.reencoder(NEW).run())
    await new.entered.wait()
    back = await shelf.reencoder(OLD).run()  # somebody thinks better of it
    new.gate.set()
    with pytest.raises(Conflict, match="Somebody else"):
        await working
    assert (back.switched, back.added) == (0, 0)
    state = await shelf.state(portfolio_id)
    assert (state.encoder, state.next_encoder) == (OLD, None)
    assert await shelf.vectors(portfolio_id) == {OLD: 30}
    assert shelf.encoders[OLD].saw("question", await search(shelf, portfolio_id, OLD))


async def test_a_portfolio_that_is_deleted_meanwhile(shelf: Shelf) -> None:
    portfolio_id, new = await shelf.portfolio(*TEXTS), shelf.encoders[NEW]
    other_id = await shelf.portfolio("other text")
    new.gate = asyncio.Event()
    working = asyncio.create_task(shelf.reencoder(NEW).run())
    await new.entered.wait()
    await shelf.portfolios.delete(shelf.scope, portfolio_id)
    new.gate.set()
    await working
    assert await shelf.vectors(portfolio_id) == {}
    assert await shelf.vectors(other_id) == {NEW: 1}


async def test_new_portfolios_are_on_the_first_encoder_that_is_registered(shelf: Shelf) -> None:
    for preferred, expected in (([NEW, OLD], NEW), (["not yet", OLD], OLD)):
        portfolios = PgPortfolios(shelf.stores.database, preferred)
        made = await portfolios.create(shelf.scope, {"name": expected})
        assert (await shelf.state(made.id)).encoder == expected
    with pytest.raises(EncoderUnavailable):
        await PgPortfolios(shelf.stores.database, ["none"]).create(shelf.scope, {"name": "x"})


async def test_a_process_without_the_encoder_answers_by_keyword(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(*TEXTS)
    agent = await shelf.stores.agents.create(
        shelf.scope, {"name": "helper", "portfolio_id": portfolio_id}
    )
    await shelf.reencoder(NEW).run()
    loaded = await shelf.stores.conversations.load(shelf.scope, Question(agent.id, "?"))
    assert loaded.portfolio is not None
    assert loaded.portfolio.encoder == NEW
    request = RetrievalRequest("word7?", portfolio_id, 3, "en", encoder=NEW)
    found = await retriever(shelf, OLD).retrieve(shelf.scope, request)
    assert found.degraded == ("encoder",)
    assert [passage.text for passage in found.passages] == [TEXTS[7]]

    [accepted] = await shelf.stores.documents.accept(
        shelf.scope, portfolio_id, [NewDocument("t", "text")]
    )
    await shelf.ingestor(OLD).index([accepted.upload_id or 0])
    record = await shelf.stores.documents.get(shelf.scope, accepted.document_id)
    assert f"not configured with the encoder {NEW}" in (record.error or "")


async def test_switching_under_load_mixes_nothing_and_fails_nobody(shelf: Shelf) -> None:
    """A short form of the promise that changing the encoder is safe (trust.md, row 17)."""
    portfolio_id = await shelf.portfolio(*TEXTS)
    agent = await shelf.stores.agents.create(
        shelf.scope, {"name": "helper", "portfolio_id": portfolio_id}
    )
    source = VectorSource(shelf.stores.passages, shelf.encoders)
    seen: list[str] = []
    over = asyncio.Event()

    async def reader(number: int) -> None:
        """Half of them go on with what they loaded before the last switches."""
        request = RetrievalRequest("question", portfolio_id, 15, "en")
        for turn in count():
            if over.is_set():
                return
            if number % 2 or turn % 20 == 0:
                loaded = await shelf.stores.conversations.load(
                    shelf.scope, Question(agent.id, "question")
                )
                assert loaded.portfolio is not None
                request = RetrievalRequest(
                    "question", portfolio_id, 15, "en", encoder=loaded.portfolio.encoder
                )
            hits = await source.search(shelf.scope, request)
            assert len(hits) == 15  # also when some of them are replaced in this very moment
            [whose] = [name for name, each in shelf.encoders.items() if each.saw("question", hits)]
            seen.append(whose)

    async def writer(name: str) -> None:
        for turn in count():
            if over.is_set():
                return
            [document_id] = await shelf.add(portfolio_id, **{name: f"{name} for the {turn}. time"})
            record = await shelf.stores.documents.get(shelf.scope, document_id)
            assert record.status == "indexed", record.error
            if turn % 3 == 2:
                await shelf.stores.documents.delete(shelf.scope, document_id)

    async def switcher() -> None:
        try:
            for turn in range(6):
                await shelf.reencoder((NEW, OLD)[turn % 2]).run()
        finally:
            over.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(reader(number))
        for name in ("first", "second"):
            group.create_task(writer(name))
        group.create_task(switcher())
    assert len(seen) > 50
    assert set(seen) == {OLD, NEW}
    state = await shelf.state(portfolio_id)
    assert (state.encoder, state.next_encoder) == (OLD, None)
    assert await shelf.vectors(portfolio_id) == {OLD: state.chunk_count}


async def test_the_next_encoder_has_its_index_before_it_serves(
    shelf: Shelf, migrated: Servers
) -> None:
    portfolio_id = await shelf.portfolio(*TEXTS)
    indexes = VectorIndexes(migrated.owner_url, 20)
    await indexes.update()
    assert await indexed(shelf, portfolio_id) == [OLD]
    await shelf.reencoding.mark(await shelf.state(portfolio_id), NEW)
    await indexes.update()
    assert await indexed(shelf, portfolio_id) == [NEW, OLD]
    await shelf.reencoder(NEW).run()
    await indexes.update()
    assert await indexed(shelf, portfolio_id) == [NEW]
    assert shelf.encoders[NEW].saw("question", await search(shelf, portfolio_id, NEW))


async def indexed(shelf: Shelf, portfolio_id: int) -> list[str]:
    rows = await shelf.stores.behind(INDEXES, portfolio_id)
    return [row["name"] for row in rows]


def retriever(shelf: Shelf, *names: str) -> HybridRetriever:
    configured = {name: shelf.encoders[name] for name in names}
    passages = shelf.stores.passages
    keywords = KeywordSource(shelf.stores.keywords)
    return HybridRetriever([VectorSource(passages, configured), keywords], 5.0)


async def search(shelf: Shelf, portfolio_id: int, encoder: str, limit: int = 15) -> Any:
    vector = shelf.encoders[encoder].vector("question")
    return await shelf.stores.passages.vector_search(
        shelf.scope, portfolio_id, encoder, vector, limit, {}
    )
