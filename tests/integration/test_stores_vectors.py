"""Vectors by the hash of their text: no text is encoded twice for a tenant and an encoder."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.errors import EncoderUnavailable
from app.stores.encoder_indexes import register_encoder
from app.stores.vectors import PgVectors
from tests.support.pg_stores import DIMENSION, ENCODER, Stores
from tests.support.reencoding import DenseEncoder, Shelf

OLD, NEW = "dense-384", "dense-256"
TEXT = "Atlas is a map viewer that runs in browsers."


@pytest.fixture
async def shelf(stores: Stores, scope: Scope, migrated: Servers) -> Shelf:
    await register_encoder(migrated.owner_url, OLD, 384)
    await register_encoder(migrated.owner_url, NEW, 256)
    return Shelf(stores, scope, DenseEncoder(OLD, 384), DenseEncoder(NEW, 256))


@dataclass
class Kept:
    """What a tenant has in the table."""

    stores: Stores

    async def hashes(self, scope: Scope, encoder: str) -> set[bytes]:
        rows = await self.stores.behind(
            "SELECT v.text_hash FROM vector_cache v JOIN encoders e ON e.id = v.encoder_id "
            "WHERE v.tenant_id = $1 AND e.name = $2",
            scope.tenant_id,
            encoder,
        )
        return {row["text_hash"] for row in rows}


async def test_added_again_copied_and_moved_a_text_is_encoded_once(shelf: Shelf) -> None:
    encoder = shelf.encoders[OLD]
    first, second = await shelf.portfolio(), await shelf.portfolio()
    [document_id] = await shelf.add(first, TEXT)
    await shelf.stores.documents.delete(shelf.scope, document_id)
    await shelf.add(first, TEXT)  # after it was deleted
    await shelf.add(second, TEXT)  # a copy
    await shelf.add(first, Atlas=TEXT)  # under a uri of its own
    assert encoder.texts == [f"Atlas\n{TEXT}"]
    assert await Kept(shelf.stores).hashes(shelf.scope, OLD) == {
        hashlib.sha256(f"Atlas\n{TEXT}".encode()).digest()
    }
    await shelf.add(first, Borea=TEXT)  # the title is encoded, too
    assert encoder.texts[1:] == [f"Borea\n{TEXT}"]
    await shelf.portfolios.delete(shelf.scope, first)
    await shelf.add(second, Borea=TEXT)
    assert len(encoder.texts) == 2


async def test_what_comes_from_the_table_is_what_was_stored_before(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(TEXT)
    await shelf.add(portfolio_id, Atlas=TEXT)
    rows = await shelf.stores.behind(
        "SELECT count(*), count(DISTINCT embedding::text) AS different FROM rag_embedding "
        "WHERE portfolio_id = $1",
        portfolio_id,
    )
    assert tuple(rows[0].values()) == (2, 1)


async def test_two_encoders_never_mix(shelf: Shelf) -> None:
    portfolio_id = await shelf.portfolio(TEXT)
    await shelf.reencoder(NEW).run()
    assert shelf.encoders[NEW].texts == shelf.encoders[OLD].texts
    kept = Kept(shelf.stores)
    assert await kept.hashes(shelf.scope, OLD) == await kept.hashes(shelf.scope, NEW)
    await shelf.reencoder(OLD).run()  # and back, for nothing
    await shelf.reencoder(NEW).run()
    assert len(shelf.encoders[NEW].texts) == len(shelf.encoders[OLD].texts) == 1
    assert await shelf.vectors(portfolio_id) == {NEW: 1}


async def test_two_tenants_never_share(shelf: Shelf, stores: Stores) -> None:
    await shelf.portfolio(TEXT)
    other = Shelf(stores, await stores.tenant(), DenseEncoder(OLD, 384))
    await other.portfolio(TEXT)
    assert other.encoders[OLD].texts == shelf.encoders[OLD].texts
    vectors = PgVectors(stores.database)
    [digest] = await Kept(stores).hashes(shelf.scope, OLD)
    unknown = await stores.tenant()
    assert await vectors.find(unknown, OLD, [digest]) == {}
    assert digest in await vectors.find(shelf.scope, OLD, [digest, bytes(32)])


async def test_a_wrong_dimension_an_unknown_encoder_and_a_wrong_hash_keep_nothing(
    shelf: Shelf,
) -> None:
    vectors = PgVectors(shelf.stores.database)
    for encoder, vector in ((OLD, [1.0] * 256), (NEW, []), ("unknown", [1.0])):
        with pytest.raises(EncoderUnavailable):
            await vectors.store(shelf.scope, encoder, {bytes(32): vector})
    assert await Kept(shelf.stores).hashes(shelf.scope, OLD) == set()


async def test_many_at_once_keep_the_same_vectors(stores: Stores, scope: Scope) -> None:
    vectors = PgVectors(stores.database)
    made = {hashlib.sha256(bytes([n])).digest(): [float(n)] * DIMENSION for n in range(50)}
    orders: Sequence[list[bytes]] = [list(made), list(reversed(made)), sorted(made)]
    await asyncio.gather(
        *(
            vectors.store(scope, ENCODER, {each: made[each] for each in order})
            for order in orders
            for _ in range(3)
        )
    )
    assert await vectors.find(scope, ENCODER, list(made)) == made


async def test_what_nobody_uses_for_thirty_days_is_pruned(
    stores: Stores, scope: Scope, migrated: Servers
) -> None:
    vectors = PgVectors(stores.database)
    made = {bytes([n] * 32): [1.0] * DIMENSION for n in range(6)}
    await vectors.store(scope, ENCODER, made)

    async def age(days: int, *numbers: int) -> None:
        await stores.behind(
            "UPDATE vector_cache SET used_at = now() - make_interval(days => $1) "
            "WHERE tenant_id = $2 AND text_hash = ANY ($3)",
            days,
            scope.tenant_id,
            [bytes([number] * 32) for number in numbers],
        )

    await age(31, 0, 1, 2, 3)
    await age(29, 4)
    assert set(await vectors.find(scope, ENCODER, [bytes([3] * 32)])) == {bytes([3] * 32)}  # used
    assert await vectors.prune(2) == 2
    assert await vectors.prune(2) == 1
    assert await vectors.prune(2) == 0
    assert await Kept(stores).hashes(scope, ENCODER) == {bytes([n] * 32) for n in (3, 4, 5)}

    connection = await asyncpg.connect(migrated.owner_url)  # who sees what may go, and no more
    try:
        await age(31, 5)
        found = await connection.fetch("SELECT text_hash FROM vector_cache")
        assert [row["text_hash"] for row in found] == [bytes([5] * 32)]
        assert await connection.execute("DELETE FROM vector_cache WHERE true") == "DELETE 1"
    finally:
        await connection.close()


async def test_the_tenants_vectors_go_with_it(stores: Stores, scope: Scope) -> None:
    await PgVectors(stores.database).store(scope, ENCODER, {bytes(32): [1.0] * DIMENSION})
    await stores.behind("DELETE FROM tenants WHERE id = $1", scope.tenant_id)
    assert await Kept(stores).hashes(scope, ENCODER) == set()
