"""The vector search against brute force, and the keyword search against its promises."""

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.errors import EncoderUnavailable
from app.ingest.ports import NewDocument
from app.retrieval.ports import Hit
from app.stores.database import Database
from app.stores.passages import PgPassages
from app.stores.vector_indexes import VectorIndexes
from tests.support.pg_stores import DIMENSION, ENCODER, Stores, unit

PARTITION = """
SELECT p.id FROM portfolios p
 WHERE p.id = ANY ($1) AND satisfies_hash_partition('rag_embedding'::regclass, 16, $2, p.id)
"""
SIZES = (1500, 1000, 500)
SEARCHED = """
SELECT count(*) FROM search_vectors(
    enter($1, 'owner', 'owner', NULL), $2, (SELECT id FROM encoders WHERE name = $3), $4, $5, 1,
    NULL, 1000000, 40)
"""
# By scans of whole tables: what the session has not yet told of its earlier transactions, too.
READ = r"""
SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0) FROM pg_class c
 WHERE c.relname LIKE 'rag\_embedding\_p__'
"""


@dataclass
class Corpus:
    """Portfolios of one partition, each vector once in float16 as Postgres has it."""

    scope: Scope
    vectors: dict[int, list[list[float]]]

    def nearest(self, portfolio_id: int, query: Sequence[float], limit: int) -> list[int]:
        """Brute force: ordinals by cosine."""
        query = half(query)
        scored = [
            (-cosine(vector, query), n) for n, vector in enumerate(self.vectors[portfolio_id])
        ]
        return [n for _, n in sorted(scored)[:limit]]


def half(vector: Sequence[float]) -> list[float]:
    return list(struct.unpack(f"{len(vector)}e", struct.pack(f"{len(vector)}e", *vector)))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def ordinals(hits: Sequence[Hit]) -> list[int]:
    return [int(hit.text.removeprefix("chunk ")) for hit in hits]


async def sharing_a_partition(stores: Stores, scope: Scope, number: int) -> list[int]:
    """New portfolios, of which so many of one partition."""
    ids = [(await stores.portfolio(scope)).id for _ in range(16 * (number - 1) + 1)]
    for remainder in range(16):
        together = sorted(row["id"] for row in await stores.behind(PARTITION, ids, remainder))
        if len(together) >= number:
            break
    return together[:number]


@pytest.fixture(scope="module")
async def corpus(stores: Stores, migrated: Servers) -> Corpus:
    """3,000 vectors around 30 centres in three portfolios that share a partition."""
    source, scope = random.Random(7), await stores.tenant()
    together = await sharing_a_partition(stores, scope, len(SIZES))
    centres = [unit(source) for _ in range(30)]
    vectors: dict[int, list[list[float]]] = {}
    for portfolio_id, size in zip(together, SIZES, strict=True):
        made = [unit(source, source.choice(centres), 0.1) for _ in range(size)]
        lines = "\n".join(f"chunk {number}" for number in range(size))
        # A tenth in a document of its own, so that filters leave few or many.
        part = size // 10
        for start, end, kind in ((0, part, "rare"), (part, size, "common")):
            text = "\n".join(lines.split("\n")[start:end])
            document = NewDocument(kind, text, kind, {"kind": kind, "year": 2024, "tags": ["a"]})
            await stores.add(scope, portfolio_id, document, made[start:end])
        vectors[portfolio_id] = [half(vector) for vector in made]
    await stores.behind("ANALYZE rag_embedding")
    await VectorIndexes(migrated.owner_url, min(SIZES)).update()
    return Corpus(scope, vectors)


@pytest.fixture(scope="module")
def passages(stores: Stores) -> dict[str, PgPassages]:
    return {
        "exact": PgPassages(stores.database, exact_below_chunks=10**9, ef_search=100),
        "hnsw": PgPassages(stores.database, exact_below_chunks=1, ef_search=100),
        "hnsw that sees too little": PgPassages(
            stores.database, exact_below_chunks=1, ef_search=10
        ),
    }


@pytest.mark.parametrize("way", ["exact", "hnsw"])
async def test_both_ways_return_exactly_what_brute_force_does(
    corpus: Corpus, passages: dict[str, PgPassages], way: str
) -> None:
    source = random.Random(11)
    for portfolio_id, vectors in corpus.vectors.items():
        for _ in range(10):
            query = unit(source, source.choice(vectors), 0.1)
            hits = await passages[way].vector_search(
                corpus.scope, portfolio_id, ENCODER, query, 15, {}
            )
            expected = corpus.nearest(portfolio_id, query, 15)
            assert ordinals(hits) == expected
            for hit, number in zip(hits, expected, strict=True):
                assert hit.score == pytest.approx(cosine(vectors[number], half(query)), abs=1e-5)


async def test_an_exact_search_reads_nothing_of_a_larger_neighbour(stores: Stores) -> None:
    scope = await stores.tenant()
    large, small = await sharing_a_partition(stores, scope, 2)
    lines = "\n".join(f"chunk {number}" for number in range(2000))
    await stores.add(scope, large, NewDocument("large", lines, "large"))
    await stores.add(scope, small, NewDocument("small", "chunk 0", "small"))
    await stores.behind("ANALYZE rag_embedding")  # half of them are a portfolio's, on average
    values = (scope.tenant_id, small, ENCODER, DIMENSION, [0.5] * DIMENSION)
    async with stores.database.transaction(scope) as connection:
        before = await connection.fetchval(READ)
        assert await connection.fetchval(SEARCHED, *values) == 1
        assert await connection.fetchval(READ) == before


async def test_the_portfolios_own_index_is_what_hnsw_uses(corpus: Corpus, stores: Stores) -> None:
    [encoder] = await stores.behind("SELECT id FROM encoders WHERE name = $1", ENCODER)
    portfolio_id, query = next(iter(corpus.vectors)), str([0.5] * DIMENSION)
    for way, cast, used in (("exact", "", False), ("hnsw", f"::halfvec({DIMENSION})", True)):
        async with stores.database.transaction(corpus.scope) as connection:
            await connection.execute("SET LOCAL enable_sort = off")
            plan = await connection.fetch(
                f"EXPLAIN SELECT chunk_id FROM rag_embedding WHERE portfolio_id = {portfolio_id} "
                f"AND encoder_id = {encoder['id']} "
                f"ORDER BY embedding{cast} <=> '{query}'::halfvec{cast} LIMIT 15"
            )
        assert any(f"_hnsw_p{portfolio_id}_e" in row[0] for row in plan) == used, way


@pytest.mark.parametrize("way", ["exact", "hnsw", "hnsw that sees too little"])
@pytest.mark.parametrize(
    ("filters", "share"),
    [
        ({"kind": "rare"}, slice(0, 10)),
        ({"kind": "common"}, slice(10, 100)),
        ({"kind": "rare", "year": 2024}, slice(0, 10)),
        ({"tags": ["a"]}, slice(0, 100)),
        ({"kind": "none"}, slice(0, 0)),
        ({"kind": "rare", "year": "2024"}, slice(0, 0)),
        ({"kind": "' OR 'a'='a"}, slice(0, 0)),
    ],
)
async def test_filters_are_equalities_and_never_leave_a_search_short(
    corpus: Corpus,
    passages: dict[str, PgPassages],
    way: str,
    filters: dict[str, object],
    share: slice,
) -> None:
    portfolio_id = list(corpus.vectors)[2]
    size, query = SIZES[2], unit(random.Random(3))
    allowed = range(size)[share.start * size // 100 : share.stop * size // 100]
    hits = await passages[way].vector_search(
        corpus.scope, portfolio_id, ENCODER, query, 60, filters
    )
    ranked = corpus.nearest(portfolio_id, query, size)
    expected = [number for number in ranked if number in allowed][:60]
    if way == "hnsw that sees too little":
        assert len(hits) == len(expected)
        assert set(ordinals(hits)) <= set(allowed)
    else:
        assert ordinals(hits) == expected


async def test_hnsw_that_comes_back_short_is_followed_by_an_exact_scan(
    corpus: Corpus, migrated: Servers
) -> None:
    database = await Database.open(
        migrated.app_url + "&hnsw.max_scan_tuples=1&hnsw.scan_mem_multiplier=1"
    )
    try:
        passages = PgPassages(database, exact_below_chunks=1, ef_search=1)
        portfolio_id, query = list(corpus.vectors)[2], unit(random.Random(5))
        filters = {"kind": "rare"}
        hits = await passages.vector_search(corpus.scope, portfolio_id, ENCODER, query, 50, filters)
    finally:
        await database.close()
    ranked = corpus.nearest(portfolio_id, query, SIZES[2])
    assert ordinals(hits) == [number for number in ranked if number < 50]


async def test_a_hit_is_the_chunk_and_its_document(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    text = "¡Hola! 🙂\nUn plano de Bogotá"
    await stores.add(scope, portfolio.id, NewDocument("Mapa", text, "mapa.md"), language="es")
    [hit] = await stores.keywords.keyword_search(scope, portfolio.id, "planos", "es", 5, {})
    assert (hit.title, hit.uri, hit.language) == ("Mapa", "mapa.md", "es")
    found = await stores.passages.vector_search(
        scope, portfolio.id, ENCODER, unit(random.Random(text.split("\n")[1])), 1, {}
    )
    assert text[found[0].start : found[0].end] == found[0].text == hit.text
    assert found[0].score == pytest.approx(1, abs=1e-3)


async def test_an_empty_portfolio_has_no_hits(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    query = unit(random.Random(1))
    search = stores.passages
    assert await search.vector_search(scope, portfolio.id, ENCODER, query, 5, {}) == []
    keywords = stores.keywords
    assert await keywords.keyword_search(scope, portfolio.id, "anything", "en", 5, {}) == []


async def test_a_vector_of_another_length_or_encoder_is_an_error(
    stores: Stores, scope: Scope
) -> None:
    portfolio = await stores.portfolio(scope)
    for encoder, vector in ((ENCODER, [1.0]), ("unknown", [1.0] * DIMENSION)):
        with pytest.raises(EncoderUnavailable):
            await stores.passages.vector_search(scope, portfolio.id, encoder, vector, 5, {})


@pytest.fixture(scope="module")
async def library(stores: Stores) -> tuple[Scope, int]:
    scope = await stores.tenant()
    portfolio = await stores.portfolio(scope)
    for title, text, language in (
        ("Atlas", "A map viewer written in React\nIt runs in browsers", "en"),
        ("Borea", "Weather forecasts for sailing boats", "en"),
        ("Cartas", "Los mapas antiguos se dibujaban a mano", "es"),
        ("Deltaplan", "Die Karte zeigt React und C++ an O'Reilly\\Pfad", "de"),
    ):
        document = NewDocument(title, text, f"{title}.md", {"language": language})
        await stores.add(scope, portfolio.id, document, language=language)
    return scope, portfolio.id


@pytest.mark.parametrize(
    ("query", "language", "titles"),
    [
        ("maps", "en", ["Atlas"]),
        ("mapa antiguo", "es", ["Cartas"]),
        ("What is written in React?", "en", ["Atlas", "Deltaplan"]),
        ("boat zebra", "en", ["Borea"]),  # any shared word is enough
        ("ATLAS", "en", ["Atlas", "Atlas"]),  # the title counts for every chunk
        ("zebra", "en", []),
        ("what is the of in", "en", []),  # stop words of the question's language
        ("de la que los", "es", []),
        ("karte", "de", ["Deltaplan"]),
        ("karte", "xx", ["Deltaplan"]),
        ("", "en", []),
        ("   \t\n", "en", []),
        ("!!! & | () :* <-> '' \\ \" ' ;--", "en", []),
        ("o'reilly\\pfad | & ! boats:* <->", "en", ["Borea", "Deltaplan"]),
        ("boats' OR 'a'='a", "en", ["Borea"]),
        ("🙂 日本語 boats \u200b\ufeff", "en", ["Borea"]),
        ("boats " * 1300, "en", ["Borea"]),
        ("x" * 8000, "en", []),
    ],
)
async def test_keywords_by_any_shared_stem_in_any_writing(
    stores: Stores, library: tuple[Scope, int], query: str, language: str, titles: list[str]
) -> None:
    scope, portfolio_id = library
    hits = await stores.keywords.keyword_search(scope, portfolio_id, query, language, 10, {})
    assert sorted(hit.title for hit in hits) == titles
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_keywords_filter_and_limit(stores: Stores, library: tuple[Scope, int]) -> None:
    scope, portfolio_id = library
    search = stores.keywords.keyword_search
    [hit] = await search(scope, portfolio_id, "react", "en", 10, {"language": "de"})
    assert hit.title == "Deltaplan"
    assert len(await search(scope, portfolio_id, "react atlas", "en", 1, {})) == 1
    assert await search(scope, portfolio_id, "react", "en", 10, {"language": "fr"}) == []
