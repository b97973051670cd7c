"""A thousand portfolios of very different sizes, and what is known of each without searching."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import asyncpg
import numpy as np

from app.bench.corpus import (
    CHUNKS_A_CENTRE,
    CHUNKS_A_DOCUMENT,
    DIMENSION,
    ENCODER,
    Filler,
    Portfolio,
    filling,
    subjects,
)
from app.chat.model import Scope
from app.stores.prepare import prepare

PORTFOLIOS = 1000
CHUNKS_A_PORTFOLIO = 100  # at least, on average: fewer chunks are in fewer portfolios
SKEW = 1.2  # sizes go with rank ** -SKEW: of a million the largest has 230,000, the smallest 60
TENANTS = 5
BOUNDS = (0, 100, 1_000, 10_000, 100_000)
WRITTEN_A_CLASS = 3  # portfolios of each size class that documents are written to meanwhile
FILTERS = {"tenth": 10, "hundredth": 100, "thousandth": 1000}
# Each chunk has one of ten words, of a hundred and of a thousand, and one that is everywhere.
EVERYWHERE = "word"
WORDS = {EVERYWHERE: 1, "tens": 10, "hundreds": 100, "thousands": 1000}

# Every chunk's terms, how many chunks have each, and their mean length, as ingestion keeps them.
TERMS = """
WITH made AS MATERIALIZED (
    SELECT c.id, c.tenant_id, t.terms, t.counts, t.length
      FROM rag_chunk c JOIN documents d ON d.id = c.document_id,
           LATERAL chunk_terms(c.portfolio_id, c.language, d.title, c.text) t
     WHERE c.portfolio_id = $1
), whole AS (
    SELECT sum(length)::bigint AS total, avg(length)::double precision AS mean FROM made
), stored AS (
    INSERT INTO rag_terms (chunk_id, portfolio_id, tenant_id, length, weights, terms, counts)
    SELECT m.id, $1, m.tenant_id, m.length,
           term_weights(m.terms, m.counts, m.length, w.mean), m.terms, m.counts
      FROM made m, whole w
), counted AS (
    INSERT INTO rag_frequencies (portfolio_id, term, tenant_id, chunks)
    SELECT $1, u.term, m.tenant_id, count(*) FROM made m, unnest(m.terms) AS u(term) GROUP BY 2, 3
)
UPDATE portfolios SET length_total = w.total, mean_length = w.mean FROM whole w WHERE id = $1
"""


@dataclass(slots=True)
class Shelf:
    """One portfolio: whose it is, its documents' ids by number, and which are not deleted."""

    portfolio: Portfolio
    name: str
    scope: Scope
    documents: Sequence[int]
    alive: set[int]
    written: bool = False

    @property
    def id(self) -> int:
        return self.portfolio.id

    @property
    def size(self) -> int:
        return self.portfolio.size

    def some_filter(self, chance: random.Random, key: str) -> dict[str, int]:
        """One that matches some document, unless that is deleted."""
        return {key: chance.randrange(len(self.documents)) % FILTERS[key]}

    def holding(self, word: str, value: int, filters: dict[str, int]) -> int:
        """In how many of the chunks that the filters leave the word stands with this number."""
        modulus = WORDS[word]
        return sum(
            (CHUNKS_A_DOCUMENT * number + ordinal) % modulus == value
            for number in self.alive
            if matches(number, filters)
            for ordinal in range(CHUNKS_A_DOCUMENT)
        )


@dataclass(frozen=True, slots=True)
class Library:
    """All of them, and how they are told apart by size."""

    shelves: Sequence[Shelf]
    classes: dict[str, list[Shelf]] = field(default_factory=dict)


def matches(number: int, filters: dict[str, int]) -> bool:
    """Whether the document of this number has these metadata."""
    return all(number % FILTERS[key] == value for key, value in filters.items())


def sizes(chunks: int) -> list[int]:
    """About so many chunks by portfolio, the largest first; each a whole number of documents."""
    portfolios = max(1, min(PORTFOLIOS, chunks // CHUNKS_A_PORTFOLIO))
    shares = [rank**-SKEW for rank in range(1, portfolios + 1)]
    each = chunks / sum(shares) / CHUNKS_A_DOCUMENT
    return [max(1, round(share * each)) * CHUNKS_A_DOCUMENT for share in shares]


async def fill(owner_url: str, chunks: int, seed: int, say: Callable[[str], None]) -> Library:
    """Make the tenants and their portfolios. All have subjects in common: the chunks nearest to a
    question are everywhere, and one that is let in from elsewhere comes first."""
    await prepare(owner_url, ENCODER, DIMENSION)
    source, wanted = np.random.default_rng(seed), sizes(chunks)
    centres = subjects(source, max(2, wanted[0] // CHUNKS_A_CENTRE))
    shelves: list[Shelf] = []
    done = told = 0
    async with filling(owner_url, source) as filler:
        scopes = [await _tenant(filler.connection, number) for number in range(TENANTS)]
        for number, size in enumerate(wanted):
            shelves.append(await _shelf(filler, scopes[number % TENANTS], number, size, centres))
            done += size
            if done - told >= sum(wanted) // 20 or number == len(wanted) - 1:
                say(f"{done:,} of {sum(wanted):,} chunks in {number + 1} portfolios")
                told = done
        for table in ("rag_terms", "rag_frequencies"):
            await filler.connection.execute(f"VACUUM ANALYZE {table}")
    return Library(shelves, classes(shelves))


async def _tenant(connection: asyncpg.Connection, number: int) -> Scope:
    name = f"tenant-{number}"
    return Scope(
        await connection.fetchval("INSERT INTO tenants (name) VALUES ($1) RETURNING id", name)
    )


async def _shelf(filler: Filler, scope: Scope, number: int, size: int, centres: Any) -> Shelf:
    name = f"p{number}"
    own = centres[: max(2, size // CHUNKS_A_CENTRE)]
    portfolio = await filler.portfolio(scope.tenant_id, name, size, own)
    await filler.connection.execute(TERMS, portfolio.id)
    rows = await filler.connection.fetch(
        "SELECT id FROM documents WHERE portfolio_id = $1 ORDER BY id", portfolio.id
    )
    return Shelf(portfolio, name, scope, [row["id"] for row in rows], set(range(len(rows))))


def classes(shelves: Sequence[Shelf]) -> dict[str, list[Shelf]]:
    """By size, those that there are; the smallest of each are written to."""
    found: dict[str, list[Shelf]] = {}
    for low, high in pairwise([*BOUNDS, 10**12]):
        some = [each for each in shelves if low <= each.size < high]
        if some:
            found[f"{low:,} to {high - 1:,}" if high < 10**12 else f"{low:,} and more"] = some
            for each in some[-WRITTEN_A_CLASS:]:
                each.written = True
    return found
