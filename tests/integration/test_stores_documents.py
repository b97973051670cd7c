"""Documents from acceptance to deletion, and what each step does to the portfolio's version."""

import asyncio

import pytest
from sqlalchemy import text

from app.chat.model import Scope
from app.errors import EncoderUnavailable, InvalidInput, NotFound
from app.ingest.ports import NewDocument, Upload
from app.stores.connections import ABANDONED
from app.stores.indexing import CHUNKS_A_STATEMENT
from app.stores.migrate import as_owner
from tests.support.pg_stores import ENCODER, Stores, chunks_of, fill, vectors_of

ATLAS = NewDocument("Atlas", "Atlas is in React.\nIt draws maps.", "atlas.md", {"year": 2024})


async def state(stores: Stores, scope: Scope, portfolio_id: int) -> tuple[int, int, int]:
    portfolio = await stores.portfolios.get(scope, portfolio_id)
    return portfolio.version, portfolio.document_count, portfolio.chunk_count


async def test_a_new_document_waits_then_is_indexed(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    [accepted] = await stores.documents.accept(scope, portfolio.id, [ATLAS])
    assert accepted.action == "created"
    waiting = await stores.documents.get(scope, accepted.document_id)
    assert (waiting.status, waiting.title, waiting.metadata) == ("pending", "Atlas", {"year": 2024})
    assert await state(stores, scope, portfolio.id) == (1, 0, 0)

    assert accepted.upload_id is not None
    upload = await stores.claimed(accepted.upload_id)
    assert (upload.text, upload.uri, upload.attempts) == (ATLAS.text, "atlas.md", 1)
    assert upload.scope.tenant_id == scope.tenant_id
    await stores.index(upload)
    indexed = await stores.documents.get(scope, accepted.document_id)
    assert (indexed.status, indexed.text, indexed.chunk_count) == ("indexed", ATLAS.text, 2)
    assert (indexed.language, indexed.error) == ("en", None)
    assert await state(stores, scope, portfolio.id) == (2, 1, 2)
    assert await stores.documents.claim(1, [accepted.upload_id]) == []


async def test_an_unchanged_document_costs_nothing(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    document_id = await stores.add(scope, portfolio.id, ATLAS)
    nameless = NewDocument("Note", "Without a uri")
    await stores.add(scope, portfolio.id, nameless)
    before = await state(stores, scope, portfolio.id)
    again = await stores.documents.accept(scope, portfolio.id, [ATLAS, nameless])
    assert [(each.action, each.upload_id) for each in again] == [("unchanged", None)] * 2
    assert again[0].document_id == document_id
    assert await state(stores, scope, portfolio.id) == before


@pytest.mark.parametrize(
    "changed",
    [
        NewDocument("Atlas", "Another text", "atlas.md", {"year": 2024}),
        NewDocument("Atlas 2", ATLAS.text, "atlas.md", {"year": 2024}),
        NewDocument("Atlas", ATLAS.text, "atlas.md", {"year": 2025}),
    ],
)
async def test_a_changed_document_replaces_the_former_one(
    stores: Stores, scope: Scope, changed: NewDocument
) -> None:
    portfolio = await stores.portfolio(scope)
    document_id = await stores.add(scope, portfolio.id, ATLAS)
    [accepted] = await stores.documents.accept(scope, portfolio.id, [changed])
    assert (accepted.document_id, accepted.action) == (document_id, "replaced")
    waiting = await stores.documents.get(scope, document_id)
    assert (waiting.status, waiting.text) == ("pending", ATLAS.text)
    assert accepted.upload_id is not None
    await stores.index(await stores.claimed(accepted.upload_id))
    found = await stores.documents.get(scope, document_id)
    assert (found.title, found.text, found.metadata, found.status) == (
        changed.title, changed.text, changed.metadata, "indexed",
    )  # fmt: skip
    assert await state(stores, scope, portfolio.id) == (3, 1, len(changed.text.split("\n")))
    assert found.chunk_count == len(changed.text.split("\n"))
    hits = await stores.keywords.keyword_search(scope, portfolio.id, "react maps", "en", 9, {})
    assert {hit.text for hit in hits} <= set(changed.text.split("\n"))


async def test_uploads_out_of_order_leave_the_latest(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    texts = [NewDocument("Atlas", f"text {number}", "atlas.md") for number in range(3)]
    accepted = await stores.documents.accept(scope, portfolio.id, texts)
    assert [each.action for each in accepted] == ["created", "replaced", "replaced"]
    uploads = [await stores.claimed(each.upload_id or 0) for each in accepted]
    await stores.index(uploads[1])
    partly = await stores.documents.get(scope, accepted[0].document_id)
    assert (partly.text, partly.status) == ("text 1", "pending")
    await stores.index(uploads[2])
    await stores.index(uploads[0])
    await stores.documents.fail(uploads[1], "late", final=True)
    found = await stores.documents.get(scope, accepted[0].document_id)
    assert (found.text, found.status, found.error) == ("text 2", "indexed", None)
    assert await state(stores, scope, portfolio.id) == (3, 1, 1)
    left = await stores.behind(
        "SELECT count(*) FROM document_uploads WHERE portfolio_id = $1", portfolio.id
    )
    assert left[0]["count"] == 0


async def test_two_callers_at_once_make_one_document(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    batch = [NewDocument(f"t{n}", f"x{n}", f"u{n}" if n % 2 else None) for n in range(10)]
    results = await asyncio.gather(
        *(
            stores.documents.accept(scope, portfolio.id, batch[::step])
            for step in (1, -1, 1, -1, 1, -1)
        )
    )
    ids = {each.document_id for result in results for each in result}
    assert len(ids) == len(batch)
    created = [each for result in results for each in result if each.action == "created"]
    assert len(created) == len(batch)
    assert [each.document_id for each in results[0]] == [
        each.document_id for each in reversed(results[1])
    ]


async def test_a_batch_is_accepted_whole_or_not_at_all(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    for bad in (
        NewDocument("NUL", "a\0b"),
        NewDocument("surrogate", "a\ud800b"),
        NewDocument("metadata", "x", None, {"a": "\0"}),
        NewDocument("number", "x", None, {"a": 2**70}),
        NewDocument("uri", "x", "".join(chr(0x4E00 + n) for n in range(4000))),
    ):
        with pytest.raises(InvalidInput):
            await stores.documents.accept(scope, portfolio.id, [ATLAS, bad])
    assert (await stores.documents.list(scope, portfolio.id, 10, None)).items == []


LAPSED = "UPDATE document_uploads SET claimed_at = now() - interval '31 s' WHERE id = ANY ($1)"


async def claimed(stores: Stores, scope: Scope, count: int) -> list[Upload]:
    portfolio = await stores.portfolio(scope)
    texts = [NewDocument(f"t{n}", "x") for n in range(count)]
    accepted = await stores.documents.accept(scope, portfolio.id, texts)
    return list(await stores.documents.claim(count, [each.upload_id or 0 for each in accepted]))


async def test_claims_are_exclusive_and_return_after_half_a_minute(
    stores: Stores, scope: Scope
) -> None:
    portfolio = await stores.portfolio(scope)
    accepted = await stores.documents.accept(
        scope, portfolio.id, [NewDocument(f"t{n}", "x") for n in range(20)]
    )
    ids = [each.upload_id or 0 for each in accepted]
    claims = await asyncio.gather(*(stores.documents.claim(7, ids) for _ in range(6)))
    claimed = [upload.id for claim in claims for upload in claim]
    assert sorted(claimed) == sorted(ids)
    assert await stores.documents.claim(7, ids) == []
    await stores.behind(LAPSED, [ids[3]])
    [again] = await stores.documents.claim(7, ids)
    assert (again.id, again.attempts) == (ids[3], 2)


async def test_a_claim_that_is_renewed_stays(stores: Stores, scope: Scope) -> None:
    uploads = await claimed(stores, scope, 3)
    ids = [each.id for each in uploads]
    await stores.behind(LAPSED, ids)
    await stores.documents.keep(uploads[:2])
    assert [each.id for each in await stores.documents.claim(7, ids)] == ids[2:]


async def test_whose_claim_lapsed_changes_nothing_for_the_next(
    stores: Stores, scope: Scope
) -> None:
    [upload] = await claimed(stores, scope, 1)
    await stores.behind(LAPSED, [upload.id])
    [again] = await stores.documents.claim(1, [upload.id])
    await stores.documents.fail(upload, "not now", final=False)
    assert await stores.documents.claim(1, [upload.id]) == []
    await stores.documents.fail(upload, "never", final=True)
    assert (await stores.documents.get(scope, upload.document_id)).status == "pending"
    await stores.behind(LAPSED, [upload.id])
    await stores.documents.keep([upload])  # its claim was another one
    [third] = await stores.documents.claim(1, [again.id])
    assert third.attempts == 3


async def test_what_was_given_back_is_not_renewed(stores: Stores, scope: Scope) -> None:
    [upload] = await claimed(stores, scope, 1)
    await stores.documents.fail(upload, "not now", final=False)
    await stores.documents.keep([upload])  # sent before, done after
    assert len(await stores.documents.claim(1, [upload.id])) == 1


@pytest.mark.parametrize("later", [False, True])
async def test_what_was_no_attempt_is_offered_again_as_it_was(
    stores: Stores, scope: Scope, later: bool
) -> None:
    [upload] = await claimed(stores, scope, 1)
    await stores.documents.give_back(upload, "An outage.", later=later)
    record = await stores.documents.get(scope, upload.document_id)
    assert (record.status, record.error) == ("failed", "An outage.")
    if later:
        assert await stores.documents.claim(1, [upload.id]) == []
        await stores.behind(LAPSED, [upload.id])
    assert [each.attempts for each in await stores.documents.claim(1, [upload.id])] == [1]


async def test_what_was_indexed_elsewhere_meanwhile_waits_for_nothing(
    stores: Stores, scope: Scope
) -> None:
    [upload] = await claimed(stores, scope, 1)
    await stores.behind(LAPSED, [upload.id])
    [elsewhere] = await stores.documents.claim(1, [upload.id])
    await stores.documents.leave(upload, "Waiting: another encoder.")
    assert (await stores.documents.get(scope, upload.document_id)).error is None
    assert elsewhere.attempts == 2


async def test_sessions_of_lost_clients_end(stores: Stores) -> None:
    """Of the question path, of the rest, and of the owner."""
    shown = "SELECT " + ", ".join(f"current_setting('{name}')" for name in ABANDONED)
    rows = [tuple(row) for row in await stores.database.fetch(shown)]
    async with stores.database.session(Scope(1)) as session:
        rows += [tuple(row) for row in (await session.execute(text(shown))).all()]
    async with as_owner(stores.superuser_url) as owner:
        rows.append(tuple(await owner.fetchrow(shown)))
    for row in rows:  # the others are nothing on a socket of this machine
        assert row[:2] == ("1min", "10s")
    assert len(rows) == 3


async def test_what_is_left_to_others_is_no_attempt_and_lets_newer_ones_go_first(
    stores: Stores, scope: Scope
) -> None:
    [upload] = await claimed(stores, scope, 1)
    await stores.documents.leave(upload, "Waiting: another encoder.")
    record = await stores.documents.get(scope, upload.document_id)
    assert (record.status, record.error) == ("pending", "Waiting: another encoder.")
    later = "UPDATE document_uploads SET claimed_at = claimed_at - interval '{} s' WHERE id = $1"
    await stores.behind(later.format(299), upload.id)
    assert await stores.documents.claim(1, [upload.id]) == []
    await stores.behind(later.format(2), upload.id)
    assert [each.attempts for each in await stores.documents.claim(1, [upload.id])] == [1]


async def test_what_waits_is_counted_over_all_tenants(stores: Stores) -> None:
    before = await stores.documents.backlog()
    filled = [await fill(stores) for _ in range(2)]
    assert len({each.scope.tenant_id for each in filled}) == 2
    after = await stores.documents.backlog()
    assert after.waiting == before.waiting + 2
    assert after.oldest_seconds >= 0


async def test_any_tenants_uploads_are_claimed_oldest_first(stores: Stores) -> None:
    filled = [await fill(stores) for _ in range(2)]
    ids = [each.upload_id for each in filled]
    everything = await stores.documents.claim(1000)
    assert set(ids) <= {upload.id for upload in everything}
    assert [upload.id for upload in everything] == sorted(upload.id for upload in everything)
    for upload in everything:
        await stores.documents.fail(upload, "not now", final=False)


async def test_failing_says_why_and_offers_again_unless_final(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    [accepted] = await stores.documents.accept(scope, portfolio.id, [ATLAS])
    assert accepted.upload_id is not None
    for final in (False, True):
        upload = await stores.claimed(accepted.upload_id)
        await stores.documents.fail(upload, "The encoder is away.", final=final)
        found = await stores.documents.get(scope, accepted.document_id)
        assert (found.status, found.error) == ("failed", "The encoder is away.")
    assert await stores.documents.claim(1, [accepted.upload_id]) == []
    assert (await stores.documents.accept(scope, portfolio.id, [ATLAS]))[0].upload_id is not None
    assert await state(stores, scope, portfolio.id) == (1, 0, 0)


async def test_a_wrong_dimension_stores_nothing(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    [accepted] = await stores.documents.accept(scope, portfolio.id, [ATLAS])
    upload = await stores.claimed(accepted.upload_id or 0)
    vectors = {ENCODER: [*vectors_of("fine"), [1.0, 0.0]]}
    with pytest.raises(EncoderUnavailable):
        await stores.documents.index(upload, "en", chunks_of(ATLAS.text), vectors)
    assert (await stores.documents.get(scope, accepted.document_id)).status == "pending"
    assert await state(stores, scope, portfolio.id) == (1, 0, 0)


async def test_a_document_of_many_statements_and_one_of_no_chunks(
    stores: Stores, scope: Scope
) -> None:
    portfolio = await stores.portfolio(scope)
    many = 2 * CHUNKS_A_STATEMENT + 1
    text = "\n".join(f"line {number}" for number in range(many))
    long_id = await stores.add(scope, portfolio.id, NewDocument("long", text))
    [empty] = await stores.documents.accept(scope, portfolio.id, [NewDocument("empty", " ")])
    upload = await stores.claimed(empty.upload_id or 0)
    await stores.documents.index(upload, "en", [], {ENCODER: []})
    assert await state(stores, scope, portfolio.id) == (3, 2, many)
    stored = await stores.behind(
        "SELECT c.text, c.ordinal, count(e.*) AS vectors FROM rag_chunk c "
        "LEFT JOIN rag_embedding e ON e.chunk_id = c.id AND e.portfolio_id = c.portfolio_id "
        "WHERE c.document_id = $1 GROUP BY 1, 2 ORDER BY 2",
        long_id,
    )
    assert [row["text"] for row in stored] == text.split("\n")
    assert {row["vectors"] for row in stored} == {1}


async def test_deleting_a_document_raises_the_version(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    document_id = await stores.add(scope, portfolio.id, ATLAS)
    [waiting] = await stores.documents.accept(scope, portfolio.id, [NewDocument("b", "b")])
    upload = await stores.claimed(waiting.upload_id or 0)
    await stores.documents.delete(scope, document_id)
    await stores.documents.delete(scope, waiting.document_id)
    assert await state(stores, scope, portfolio.id) == (4, 0, 0)
    await stores.index(upload)  # deleted meanwhile: nothing happens
    await stores.documents.fail(upload, "gone", final=True)
    assert await state(stores, scope, portfolio.id) == (4, 0, 0)
    with pytest.raises(NotFound):
        await stores.documents.delete(scope, document_id)


async def test_pages_go_through_all_documents_once(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    made = await stores.documents.accept(
        scope, portfolio.id, [NewDocument(f"t{n}", f"x{n}") for n in range(5)]
    )
    seen, after = [], None
    while True:
        listed = await stores.documents.list(scope, portfolio.id, 2, after)
        seen += [(record.id, record.text) for record in listed.items]
        if (after := listed.next) is None:
            break
    assert sorted(seen) == sorted((each.document_id, "") for each in made)
    for bad in ("x", "-1", str(2**70), "١", "1 "):
        with pytest.raises(InvalidInput):
            await stores.documents.list(scope, portfolio.id, 2, bad)


async def test_deleting_a_portfolio_leaves_no_row_of_it(stores: Stores) -> None:
    filled = await fill(stores)
    tables = await stores.behind(
        "SELECT attrelid::regclass::text AS name FROM pg_attribute a JOIN pg_class c "
        "ON c.oid = a.attrelid WHERE attname = 'portfolio_id' AND relkind = 'r' "
        "AND relname <> 'agents' AND relnamespace = 'public'::regnamespace"
    )
    assert len(tables) >= 19
    upload = await stores.claimed(filled.upload_id)
    await stores.portfolios.delete(filled.scope, filled.portfolio_id)
    await stores.index(upload)
    for table in tables:
        left = await stores.behind(
            f"SELECT count(*) FROM {table['name']} WHERE portfolio_id = $1", filled.portfolio_id
        )
        assert left[0]["count"] == 0, table["name"]
    agent = await stores.agents.get(filled.scope, filled.agent_id)
    assert agent.portfolio_id is None
    conversation, _ = await stores.history.get(filled.scope, filled.conversation_id)
    assert conversation.agent_id == filled.agent_id


async def test_writers_that_cross_never_block_each_other(stores: Stores, scope: Scope) -> None:
    """Accepting, indexing and deleting in one portfolio at once, ended by deleting all of it."""
    portfolio = await stores.portfolio(scope)

    async def churn(number: int) -> None:
        document = NewDocument("t", f"text {number}", f"u{number % 4}")
        [accepted] = await stores.documents.accept(scope, portfolio.id, [document])
        if accepted.upload_id is not None:
            for upload in await stores.documents.claim(1, [accepted.upload_id]):
                await stores.index(upload)
        if number % 5 == 0:
            await stores.documents.delete(scope, accepted.document_id)

    results = await asyncio.gather(*map(churn, range(40)), return_exceptions=True)
    assert all(result is None or isinstance(result, NotFound) for result in results)
    version, documents, chunks = await state(stores, scope, portfolio.id)
    listed = (await stores.documents.list(scope, portfolio.id, 100, None)).items
    assert documents == chunks == sum(record.chunk_count for record in listed)
    assert version > 10
    await asyncio.gather(
        stores.portfolios.delete(scope, portfolio.id),
        *(churn(number) for number in range(4)),
        return_exceptions=True,
    )
    with pytest.raises(NotFound):
        await stores.portfolios.get(scope, portfolio.id)
