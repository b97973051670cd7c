"""The keyword search against the reference BM25, and the counts that it rests on."""

import asyncio
import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import asyncpg
import bm25s
import pytest
from numpy.testing import assert_allclose

from app.chat.language import detect_language
from app.chat.model import Scope
from app.embedded import Servers
from app.errors import NotFound
from app.ingest.chunk import split
from app.ingest.ports import NewDocument
from app.retrieval.ports import Hit
from app.stores.terms import MEAN_TOLERANCE
from tests.support.pg_stores import Stores

SAMPLES = Path(__file__).parents[2] / "examples" / "portfolio"
QUESTIONS = {
    "en": (
        "What React projects are there?",
        "Which project uses Postgres and Redis with a queue of jobs?",
        "maps of the weather",
        "project",
        "the team",
    ),
    "es": (
        "¿Qué proyectos hay de riego o de aceite?",
        "cuando se riega que parcela",
        "Postgres React",
    ),
}
# Chunks whose counted frequency is not that of their terms, and the other way round.
MISCOUNTED = """
SELECT * FROM (SELECT portfolio_id, term, count(*) AS chunks
                 FROM rag_terms, unnest(terms) AS term GROUP BY 1, 2) t
  FULL JOIN rag_frequencies f USING (portfolio_id, term)
 WHERE t.chunks IS DISTINCT FROM f.chunks AND portfolio_id = $1
"""
MEASURED = """
SELECT p.length_total AS total, p.chunk_count AS chunks, coalesce(sum(t.length), 0) AS length,
       count(t.*) AS rows
  FROM portfolios p LEFT JOIN rag_terms t ON t.portfolio_id = p.id WHERE p.id = $1 GROUP BY p.id
"""


class Reference:
    """bm25s over the same tokens."""

    def __init__(self, rows: Sequence[asyncpg.Record]) -> None:
        numbers = {term: n for n, term in enumerate(sorted({t for r in rows for t in r["terms"]}))}
        corpus = [
            [
                numbers[term]
                for term, n in zip(r["terms"], r["counts"], strict=True)
                for _ in [0] * n
            ]
            for r in rows
        ]
        self.numbers = numbers
        self.ids = [row["chunk_id"] for row in rows]
        self.model = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        vocabulary = {str(n): n for n in numbers.values()}
        self.model.index((corpus, vocabulary), show_progress=False)

    def scores(self, terms: Sequence[int]) -> dict[int, float]:
        """By chunk, of those that have any of the terms."""
        known = sorted({self.numbers[term] for term in terms if term in self.numbers})
        if not known:
            return {}
        found = self.model.get_scores_from_ids(known)
        return {
            chunk: float(score) for chunk, score in zip(self.ids, found, strict=True) if score > 0
        }


async def reference(stores: Stores, portfolio_id: int) -> Reference:
    return Reference(
        await stores.behind(
            "SELECT chunk_id, terms, counts FROM rag_terms WHERE portfolio_id = $1 ORDER BY 1",
            portfolio_id,
        )
    )


async def terms(stores: Stores, portfolio_id: int, query: str, language: str) -> list[int]:
    rows = await stores.behind(
        "SELECT DISTINCT term FROM query_terms($1, $2, $3)", portfolio_id, query, language
    )
    return [row["term"] for row in rows]


def assert_ranked(hits: Sequence[Hit], scores: dict[int, float], limit: int) -> None:
    """The best by the reference, in its order but for ties and what the mean's tolerance allows."""
    assert len(hits) == min(limit, len(scores))
    best = sorted(scores.values(), reverse=True)
    found = [scores[hit.chunk_id] for hit in hits]
    assert_allclose([hit.score for hit in hits], found, rtol=MEAN_TOLERANCE, atol=0)
    assert_allclose(found, best[: len(hits)], rtol=2 * MEAN_TOLERANCE, atol=0)


async def assert_counted(stores: Stores, portfolio_id: int) -> None:
    assert await stores.behind(MISCOUNTED, portfolio_id) == []
    [row] = await stores.behind(MEASURED, portfolio_id)
    assert (row["total"], row["chunks"]) == (row["length"], row["rows"])


def sample(path: Path) -> NewDocument:
    """A document of the sample portfolio; the store's builder cuts chunks at line ends."""
    text = path.read_text(encoding="utf-8")
    chunks = [" ".join(text[s.start : s.end].split()) for s in split(text, 900)]
    return NewDocument(chunks[0].split(".")[0], "\n".join(chunks), path.name)


@pytest.mark.parametrize("language", QUESTIONS)
async def test_scores_are_those_of_bm25_through_changes(
    stores: Stores, scope: Scope, language: str
) -> None:
    portfolio_id = (await stores.portfolio(scope)).id
    paths = [
        path
        for path in sorted(SAMPLES.glob("*.md"))
        if detect_language(path.read_text(encoding="utf-8")) == language
    ]
    assert len(paths) > 5

    async def compare() -> None:
        await assert_counted(stores, portfolio_id)
        model = await reference(stores, portfolio_id)
        for query in QUESTIONS[language]:
            found = await stores.keywords.keyword_search(
                scope, portfolio_id, query, language, 10, {}
            )
            asked = await terms(stores, portfolio_id, query, language)
            assert_ranked(found, model.scores(asked), 10)

    ids = {}
    for path in paths:
        ids[path] = await stores.add(scope, portfolio_id, sample(path), language=language)
    await compare()
    for path in paths[::3]:
        await stores.documents.delete(scope, ids[path])
    for path in paths[1::3]:
        changed = NewDocument("Changed", sample(path).text[::2] + " React", path.name)
        await stores.add(scope, portfolio_id, changed, language=language)
    await compare()
    for record in (await stores.documents.list(scope, portfolio_id, 100, None)).items:
        await stores.documents.delete(scope, record.id)
    assert (
        await stores.behind("SELECT FROM rag_frequencies WHERE portfolio_id = $1", portfolio_id)
        == []
    )
    assert await stores.keywords.keyword_search(scope, portfolio_id, "React", "en", 5, {}) == []


@pytest.fixture(scope="module")
async def crowd(stores: Stores) -> tuple[Scope, int]:
    """1,500 chunks whose words follow Zipf's law: some in nearly all, many in one."""
    source, scope = random.Random(5), await stores.tenant()
    portfolio_id = (await stores.portfolio(scope)).id
    weights = list(accumulate(1 / (n + 2) for n in range(4000)))
    for kind, chunks in (("rare", 30), ("common", 1470)):
        lines = [
            " ".join(
                f"w{n}x"
                for n in source.choices(range(4000), cum_weights=weights, k=source.randint(20, 60))
            )
            for _ in range(chunks)
        ]
        document = NewDocument("title", "\n".join(lines), kind, {"kind": kind})
        await stores.add(scope, portfolio_id, document)
    return scope, portfolio_id


async def test_the_best_are_found_whatever_is_common(
    stores: Stores, crowd: tuple[Scope, int]
) -> None:
    scope, portfolio_id = crowd
    source, model = random.Random(9), await reference(stores, portfolio_id)
    queries = ["w0x", "title", "w0x w1x w2x", "w0x w1x w2x w3x w4x w5x w6x w7x"]
    queries += [
        " ".join(f"w{int(4000 ** source.random())}x" for _ in range(source.randint(1, 12)))
        for _ in range(40)
    ]
    for query in queries:
        scores = model.scores(await terms(stores, portfolio_id, query, "en"))
        for limit in (0, 1, 10, 100, 2000):
            hits = await stores.keywords.keyword_search(scope, portfolio_id, query, "en", limit, {})
            assert_ranked(hits, scores, limit)


@pytest.mark.parametrize("kind", ["rare", "common", "none"])
@pytest.mark.parametrize("query", ["w3999x title", "w900x w1500x", "w0x w1x w2x"])
async def test_filters_leave_no_search_short(
    stores: Stores, crowd: tuple[Scope, int], kind: str, query: str
) -> None:
    scope, portfolio_id = crowd
    matching = {
        row["id"]
        for row in await stores.behind(
            "SELECT c.id FROM rag_chunk c JOIN documents d ON d.id = c.document_id "
            "WHERE c.portfolio_id = $1 AND d.uri = $2",
            portfolio_id,
            kind,
        )
    }
    model = await reference(stores, portfolio_id)
    scores = model.scores(await terms(stores, portfolio_id, query, "en"))
    expected = {chunk: score for chunk, score in scores.items() if chunk in matching}
    for limit in (10, 2000):
        hits = await stores.keywords.keyword_search(
            scope, portfolio_id, query, "en", limit, {"kind": kind}
        )
        assert_ranked(hits, expected, limit)
        assert {hit.chunk_id for hit in hits} <= matching
    unknown = {"kind": kind, "unknown": [1]}
    assert await stores.keywords.keyword_search(scope, portfolio_id, query, "en", 10, unknown) == []


async def test_the_best_are_found_where_every_word_is_common(stores: Stores) -> None:
    source, scope = random.Random(6), await stores.tenant()
    portfolio_id, words = (await stores.portfolio(scope)).id, [f"e{n}x" for n in range(6)]
    for kind, chunks in (("few", 600), ("most", 4200)):
        lines = [
            " ".join(word for word in words * 2 if source.random() < 0.14) + f" f{n % 97}x"
            for n in range(chunks)
        ]
        document = NewDocument("title", "\n".join(lines), kind, {"kind": kind})
        await stores.add(scope, portfolio_id, document)
    model = await reference(stores, portfolio_id)
    most = {
        row["id"]
        for row in await stores.behind(
            "SELECT c.id FROM rag_chunk c JOIN documents d ON d.id = c.document_id "
            "WHERE c.portfolio_id = $1 AND d.uri = 'most'",
            portfolio_id,
        )
    }
    for count in range(1, 7):
        query = " ".join(words[:count])
        scores = model.scores(await terms(stores, portfolio_id, query, "en"))
        matching = {chunk: score for chunk, score in scores.items() if chunk in most}
        for limit in (1, 10, 100):
            for filters, expected in (({}, scores), ({"kind": "most"}, matching)):
                hits = await stores.keywords.keyword_search(
                    scope, portfolio_id, query, "en", limit, filters
                )
                assert_ranked(hits, expected, limit)


async def test_weights_follow_the_mean_length(stores: Stores, scope: Scope) -> None:
    portfolio_id = (await stores.portfolio(scope)).id
    for size in (1, 5, 30, 3):
        lines = "\n".join(f"boat {'sail ' * size}{n}" for n in range(4))
        await stores.add(scope, portfolio_id, NewDocument("t", lines, f"u{size}"))
        model = await reference(stores, portfolio_id)
        hits = await stores.keywords.keyword_search(scope, portfolio_id, "boat", "en", 99, {})
        asked = await terms(stores, portfolio_id, "boat", "en")
        assert_ranked(hits, model.scores(asked), 99)


async def test_writers_at_once_count_right(stores: Stores, scope: Scope) -> None:
    portfolio_id = (await stores.portfolio(scope)).id

    async def churn(number: int) -> None:
        text = "\n".join(["boat sail"] * (number % 3 + 1)) + " mast" * 4 * number
        document = NewDocument("t", text, f"u{number % 5}")
        [accepted] = await stores.documents.accept(scope, portfolio_id, [document])
        if accepted.upload_id is not None:
            for upload in await stores.documents.claim(1, [accepted.upload_id]):
                await stores.index(upload)
        if number % 7 == 0:
            await stores.documents.delete(scope, accepted.document_id)

    results = await asyncio.gather(*map(churn, range(40)), return_exceptions=True)
    assert all(result is None or isinstance(result, NotFound) for result in results), results
    await assert_counted(stores, portfolio_id)


@pytest.fixture(scope="module")
async def spanish(stores: Stores) -> tuple[Scope, int]:
    scope = await stores.tenant()
    portfolio_id = (await stores.portfolio(scope)).id
    for title, text, language in (
        ("Riego", "La información llega a la estación cuando llueve en Aragón", "es"),
        ("Té", "El té verde se toma con miel", "es"),
        ("Année", "Le café de l'été est fermé", "fr"),
        ("Quién", "Quién es quién en la empresa", "es"),
        ("Emoji", 'Die Karte 🗺️ zeigt C:\\Pfad und "Ziel\'s"', "de"),
    ):
        await stores.add(scope, portfolio_id, NewDocument(title, text, title), language=language)
    return scope, portfolio_id


@pytest.mark.parametrize(
    ("query", "language", "titles"),
    [
        ("informacion de Aragon", "es", ["Riego"]),
        ("INFORMACIÓN", "es", ["Riego"]),
        ("estacion", "xx", ["Riego"]),
        ("cafe ete ferme", "fr", ["Année"]),
        ("¿Cuándo y quién?", "es", ["Quién"]),  # stop words only, so they are all there is
        ("cuando llovió miel", "es", ["Té"]),
        ("té", "es", ["Té"]),
        ("annee", "", ["Année"]),
        ("\\ ' \" \u0007 \u200b pfad", "de", ["Emoji"]),
        ("🗺️", "de", []),
        ("ziel's " * 1000, "de", ["Emoji"]),
        (" ".join(f"w{n}" for n in range(1400)), "en", []),
    ],
)
async def test_words_are_found_with_accents_or_without(
    stores: Stores, spanish: tuple[Scope, int], query: str, language: str, titles: list[str]
) -> None:
    scope, portfolio_id = spanish
    hits = await stores.keywords.keyword_search(scope, portfolio_id, query, language, 10, {})
    assert [hit.title for hit in hits] == titles


async def test_a_word_in_two_languages_is_as_rare_as_both_together(
    stores: Stores, scope: Scope
) -> None:
    portfolio_id = (await stores.portfolio(scope)).id
    english = "\n".join(f"kafka broker {n}" for n in range(20))
    await stores.add(scope, portfolio_id, NewDocument("a", english))
    await stores.add(scope, portfolio_id, NewDocument("b", "kafka broker es"), language="es")
    hits = await stores.keywords.keyword_search(scope, portfolio_id, "kafka", "en", 50, {})
    assert len(hits) == 21
    assert hits[0].score == pytest.approx(hits[-1].score, rel=0.5)


async def test_a_hit_tells_its_place_in_the_document(stores: Stores, scope: Scope) -> None:
    portfolio_id = (await stores.portfolio(scope)).id
    await stores.add(scope, portfolio_id, NewDocument("Atlas", "one\ntwo\nthree"))
    [hit] = await stores.keywords.keyword_search(scope, portfolio_id, "three", "en", 5, {})
    assert (hit.ordinal, hit.text) == (2, "three")


async def test_ranking_sees_the_tenant_of_the_setting_only(
    stores: Stores, crowd: tuple[Scope, int], migrated: Servers
) -> None:
    scope, portfolio_id = crowd
    other = await stores.tenant()
    rank = "SELECT ids FROM rank_chunks($1, 'title', 'en', 5, $2)"
    connection = await asyncpg.connect(migrated.app_url)
    try:
        for setting, count in ((None, 0), ("", 0), (other, 0), (scope, 5)):
            tenant = str(setting.tenant_id) if isinstance(setting, Scope) else setting
            if tenant is not None:
                await connection.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
            everything = [row["id"] for row in await stores.behind("SELECT id FROM rag_chunk")]
            for chunks in (None, everything):
                ids = await connection.fetchval(rank, portfolio_id, chunks)
                assert len(ids or []) == count, (setting, chunks)
    finally:
        await connection.close()


async def test_the_owner_reads_by_the_index_and_the_service_cannot(
    stores: Stores, crowd: tuple[Scope, int], migrated: Servers
) -> None:
    scope, portfolio_id = crowd
    for url, used in ((migrated.owner_url, True), (migrated.app_url, False)):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                f"SET enable_seqscan = off; SET app.tenant_id = '{scope.tenant_id}'"
            )
            plan = await connection.fetch(
                "EXPLAIN SELECT FROM rag_terms WHERE terms && ARRAY[1] "
                f"AND tenant_id = {scope.tenant_id} AND portfolio_id = {portfolio_id}"
            )
        finally:
            await connection.close()
        assert any("ix_rag_terms_terms" in row[0] for row in plan) == used, url
