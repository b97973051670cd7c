"""`citestream bench retrieval`: vector search at every size, beside what must be reached.

Recall is measured against an exact scan in SQL; times against a prepared query on a table that
has nothing but the portfolio's chunks, by an HNSW index of its own and with the same breadth,
through the same driver and in turns with ours.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import asyncpg
import numpy as np
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from app.bench.corpus import DIMENSION, ENCODER, FILTERS, Corpus, Portfolio, fill
from app.bench.figures import Figure
from app.bench.side_by_side import side_by_side
from app.chat.model import Scope
from app.embedded import embedded_servers
from app.retrieval.ports import Hit
from app.stores.database import Database
from app.stores.migrate import as_owner, upgrade
from app.stores.passages import PgPassages
from app.stores.vector_indexes import Building, VectorIndexes, memory_mb

K = 10
ROUNDS, QUESTIONS = 5, 40
RECALL, TIMES_BARE, MS = 0.97, 1.5, 1.0
FILTERED_SIZES = 3  # the largest ones
DELETED = 0.3
# As the service has them by default.
EXACT_BELOW, EF_SEARCH = 400, 80

NEAREST = """
SELECT e.chunk_id FROM rag_embedding e
 WHERE e.portfolio_id = $1 AND e.encoder_id = $2 AND ($4::jsonb IS NULL OR e.chunk_id IN (
       SELECT c.id FROM rag_chunk c JOIN documents d ON d.id = c.document_id
        WHERE d.portfolio_id = $1 AND d.metadata @> $4))
 ORDER BY e.embedding <=> $3 LIMIT $5
"""
OWN_TABLE = (
    """
CREATE TABLE own{id} AS
SELECT c.id AS chunk_id, c.document_id, d.title, d.uri, c.text, c.start_char, c.end_char,
       c.language, c.ordinal, c.tail, e.embedding::halfvec({dimension}) AS embedding
  FROM rag_embedding e JOIN rag_chunk c ON c.id = e.chunk_id
  JOIN documents d ON d.id = c.document_id
 WHERE e.portfolio_id = {id}
""",
    "CREATE INDEX ON own{id} USING hnsw (embedding halfvec_cosine_ops)",
    "VACUUM ANALYZE own{id}",
)
BARE = """
SELECT chunk_id, document_id, title, uri, text, start_char, end_char, language, ordinal, tail,
       1 - (embedding <=> $1) AS score
  FROM own{id} ORDER BY embedding <=> $1 LIMIT {k}
"""
INDEX_BYTES = "SELECT coalesce(sum(pg_relation_size(relname::regclass)), 0) FROM pg_class " \
              r"WHERE relname LIKE 'rag\_embedding\_hnsw\_p%'"  # fmt: skip
DELETE = """
WITH gone AS (
    DELETE FROM documents WHERE portfolio_id = $1 AND id % 10 < $2 RETURNING chunk_count)
UPDATE portfolios SET chunk_count = chunk_count - (SELECT sum(chunk_count) FROM gone)
 WHERE id = $1
"""


Found = tuple[list[float], Sequence[Hit]]


@dataclass(slots=True)
class Measured:
    """What was found for the questions to one portfolio, by round."""

    recall: list[float] = field(default_factory=list)
    ours_ms: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)
    wrong_counts: int = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured with: the store as the service has it, and a connection of the owner's."""

    corpus: Corpus
    passages: PgPassages
    owner: asyncpg.Connection
    questions: np.random.Generator
    rounds: int
    ef_search: int

    def ask(self, portfolio: Portfolio) -> list[list[float]]:
        """A round's questions, as an encoder gives them."""
        return [each.tolist() for each in portfolio.questions(self.questions, QUESTIONS)]

    async def ours(
        self, portfolio: Portfolio, vector: list[float], k: int, filters: dict[str, int]
    ) -> Sequence[Hit]:
        scope = Scope(self.corpus.tenant_id)
        return await self.passages.vector_search(scope, portfolio.id, ENCODER, vector, k, filters)

    async def exact(
        self, portfolio: Portfolio, vector: list[float], k: int, filters: dict[str, int]
    ) -> list[int]:
        some = ",".join(f'"{key}": {value}' for key, value in filters.items())
        rows = await self.owner.fetch(
            NEAREST, portfolio.id, self.corpus.encoder_id, HalfVector(vector),
            f"{{{some}}}" if filters else None, k,
        )  # fmt: skip
        return [row["chunk_id"] for row in rows]


async def bench_retrieval(
    chunks: int,
    folder: Path,
    say: Callable[[str], None],
    rounds: int = ROUNDS,
    *,
    exact_below: int = EXACT_BELOW,
    ef_search: int = EF_SEARCH,
) -> list[Figure]:
    """Measure on an embedded Postgres of the folder. Raises EmbeddedError."""
    figures = await side_by_side(rounds)
    async with embedded_servers(folder, encoder=None, on_progress=say) as servers:
        await upgrade(servers.owner_url)
        corpus = await fill(servers.owner_url, chunks, say)
        async with as_owner(servers.owner_url) as owner:
            await register_vector(owner)
            tenant = str(corpus.tenant_id)
            await owner.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
            figures += await _build(servers.owner_url, owner, corpus, exact_below, say)
            database = await Database.open(servers.app_url)
            try:
                passages = PgPassages(database, exact_below, ef_search)
                questions = np.random.default_rng(7)
                bench = Bench(corpus, passages, owner, questions, rounds, ef_search)
                figures += await _measure(bench, say)
            finally:
                await database.close()
    return figures


async def _build(
    owner_url: str,
    owner: asyncpg.Connection,
    corpus: Corpus,
    exact_below: int,
    say: Callable[[str], None],
) -> list[Figure]:
    tenths: set[tuple[int, int]] = set()

    def show(building: Building) -> None:
        tenth = building.done * 10 // building.chunks
        if building.chunks >= 10_000 and (building.portfolio_id, tenth) not in tenths:
            tenths.add((building.portfolio_id, tenth))
            say(f"index of {building.chunks:,} chunks: {tenth}0 %")

    started = time.perf_counter()
    outcome = await VectorIndexes(owner_url, exact_below).update(show)
    seconds = time.perf_counter() - started
    indexed = sum(each.size for each in corpus.portfolios if each.size >= exact_below)
    say(f"{outcome.built} indexes of {indexed:,} chunks in {seconds:.0f} s")
    if not indexed:
        return []
    share, size = 100_000 / indexed, await owner.fetchval(INDEX_BYTES)
    return [
        Figure(
            "indexes of 100,000 chunks: on disk and in cache", "MB", [int(size) * share / 2**20]
        ),
        Figure("indexes of 100,000 chunks: made in, one process", "s", [seconds * share]),
        Figure("memory while one of 100,000 is made", "MB", [memory_mb(100_000, DIMENSION)]),
    ]


async def _measure(bench: Bench, say: Callable[[str], None]) -> list[Figure]:
    sizes = list(dict.fromkeys(each.size for each in bench.corpus.portfolios))
    figures: list[Figure] = []
    wrong = 0
    for size in sizes:
        portfolio = bench.corpus.of_size(size)[0]
        for statement in OWN_TABLE:
            await bench.owner.execute(statement.format(id=portfolio.id, dimension=DIMENSION))
        measured = await _interleaved(bench, portfolio)
        wrong += measured.wrong_counts
        figures += _figures(f"{size:,} chunks", measured)
        say(figures[-1].line())
    for size in sizes[:FILTERED_SIZES]:
        for share, filters in FILTERS.items():
            measured = await _filtered(bench, bench.corpus.of_size(size)[0], filters)
            wrong += measured.wrong_counts
            name = f"{size:,} chunks, a filter of {share}"
            figures.append(Figure(f"{name}: recall@{K}", "", measured.recall, RECALL, "higher"))
            figures.append(Figure(f"{name}: p50", "ms", measured.ours_ms))
    measured = await _after_deletes(bench, bench.corpus.of_size(sizes[1])[0])
    wrong += measured.wrong_counts
    name = f"{sizes[1]:,} chunks less {DELETED:.0%}: recall@{K}"
    figures.append(Figure(name, "", measured.recall, RECALL, "higher"))
    figures.append(Figure("searches with other than min(k, matching) rows", "", [wrong], 0))
    return figures


async def _interleaved(bench: Bench, portfolio: Portfolio) -> Measured:
    """Ours and the bare query in turns, in an order of chance: neither always finds what the
    other has brought into the processor's cache."""
    measured, owner = Measured(), bench.owner
    await owner.execute(f"SET hnsw.ef_search = {bench.ef_search}; SET enable_sort = off")
    prepared = await owner.prepare(BARE.format(id=portfolio.id, k=K))
    for number in range(bench.rounds + 1):
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        found: list[Found] = []
        for vector in bench.ask(portfolio):
            for which in random.sample(["ours", "bare"], 2):
                started = time.perf_counter()
                if which == "bare":
                    await prepared.fetch(HalfVector(vector))
                else:
                    found.append((vector, await bench.ours(portfolio, vector, K, {})))
                times[which].append((time.perf_counter() - started) * 1000)
        if number:  # the first warms everything up
            measured.ours_ms.append(median(times["ours"]))
            measured.bare_ms.append(median(times["bare"]))
            await _judge(bench, portfolio, found, {}, measured)
    await owner.execute("RESET enable_sort")
    for k in (1, portfolio.size // 2, portfolio.size + 7):
        hits = await bench.ours(portfolio, bench.ask(portfolio)[0], k, {})
        measured.wrong_counts += len(hits) != min(k, portfolio.size)
    return measured


async def _filtered(bench: Bench, portfolio: Portfolio, filters: dict[str, int]) -> Measured:
    measured = Measured()
    for number in range(bench.rounds + 1):
        found: list[Found] = []
        times = []
        for vector in bench.ask(portfolio):
            started = time.perf_counter()
            found.append((vector, await bench.ours(portfolio, vector, K, filters)))
            times.append((time.perf_counter() - started) * 1000)
        if number:
            measured.ours_ms.append(median(times))
            await _judge(bench, portfolio, found, filters, measured)
    return measured


async def _after_deletes(bench: Bench, portfolio: Portfolio) -> Measured:
    """With the deleted chunks still in the graph: nothing has vacuumed it yet."""
    await bench.owner.execute(DELETE, portfolio.id, int(DELETED * 10))
    return await _filtered(bench, portfolio, {})


async def _judge(
    bench: Bench,
    portfolio: Portfolio,
    found: Sequence[Found],
    filters: dict[str, int],
    measured: Measured,
) -> None:
    """Add a round's recall, and count the searches that came back with another number of rows."""
    shares = []
    for vector, hits in found:
        expected = await bench.exact(portfolio, vector, K, filters)
        measured.wrong_counts += len(hits) != len(expected)
        if expected:
            same = set(expected) & {hit.chunk_id for hit in hits}
            shares.append(len(same) / len(expected))
    measured.recall.append(sum(shares) / len(shares) if shares else 1.0)


def _figures(name: str, measured: Measured) -> list[Figure]:
    ours, bare = measured.ours_ms, measured.bare_ms
    limit = MS if median(bare) <= MS else None
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return [
        Figure(f"{name}: recall@{K}", "", measured.recall, RECALL, "higher"),
        Figure(f"{name}: p50 of the bare query", "ms", bare, yardstick=True),
        Figure(f"{name}: p50", "ms", ours, limit),
        Figure(f"{name}: p50 / the bare query's", "×", ratios, TIMES_BARE),
    ]
