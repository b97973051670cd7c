"""Portfolios of synthetic vectors, put into the database as fast as it takes them.

Vectors lie around centres, some hundred around each, as chunks of one subject do. Every document
has ten chunks; its metadata leave a tenth, a hundredth or a thousandth of the documents. Texts
begin with the name of their portfolio; some words stand in every tenth, hundredth or thousandth.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from app.stores.migrate import as_owner
from app.stores.prepare import prepare

ENCODER = "synthetic@1"
DIMENSION = 384
CHUNKS_A_CENTRE = 200
# Of a coordinate. A chunk and its subject have a cosine of 0.8 then, two chunks of it 0.6.
SPREAD = 0.75 / DIMENSION**0.5
CHUNKS_A_DOCUMENT = 10
# 300,000 chunks: how many portfolios of each size.
PORTFOLIOS = {
    100_000: 1, 50_000: 1, 20_000: 2, 10_000: 4, 5_000: 4, 2_000: 5, 1_000: 10, 500: 20, 200: 50,
    100: 100,
}  # fmt: skip
CHUNKS = sum(size * count for size, count in PORTFOLIOS.items())
SMALLEST = 100
FILTERS = {"10 %": {"tenth": 3}, "1 %": {"hundredth": 33}, "0.1 %": {"thousandth": 333}}
SHARES = {"10 %": 10, "1 %": 100, "0.1 %": 1000}

STAGE = "CREATE TEMP TABLE stage (n integer, embedding halfvec)"
PORTFOLIO = """
INSERT INTO portfolios (tenant_id, name, encoder_id, chunk_count, document_count)
SELECT $1, $2, id, $3, $4 FROM encoders WHERE name = $5 RETURNING id
"""
DOCUMENTS = """
INSERT INTO documents (tenant_id, portfolio_id, title, metadata, content_hash, status, revision,
                       chunk_count)
SELECT $1, $2, 'Document ' || n,
       jsonb_build_object('tenth', n % 10, 'hundredth', n % 100, 'thousandth', n % 1000),
       int8send(n), 'indexed', 1, 10
  FROM generate_series(0, $3::bigint / 10 - 1) n
"""
CHUNK_ROWS = """
INSERT INTO rag_chunk (tenant_id, portfolio_id, document_id, ordinal, start_char, end_char, text,
                       language)
SELECT $1, $2, d.id, o, 0, 400,
       concat($3::text, ' chunk ', n, ' tens', n % 10, ' hundreds', n % 100, ' thousands', n % 1000,
              repeat(' word', 70)), 'en'
  FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number
          FROM documents WHERE portfolio_id = $2) d,
       generate_series(0, 9) o, LATERAL (SELECT 10 * d.number + o AS n) c
 ORDER BY n
"""
VECTOR_ROWS = """
INSERT INTO rag_embedding (portfolio_id, chunk_id, encoder_id, tenant_id, embedding)
SELECT $2, c.id, e.id, $1, s.embedding
  FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM rag_chunk
         WHERE portfolio_id = $2) c
  JOIN stage s ON s.n = c.n
  JOIN encoders e ON e.name = $3
"""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One of the corpus: its id, how many chunks it has, and where its vectors lie."""

    id: int
    size: int
    centres: Any

    def questions(self, source: np.random.Generator, count: int) -> list[Any]:
        """Vectors near some of its subjects."""
        chosen = source.integers(0, len(self.centres), count)
        return list(scattered(source, self.centres[chosen]))


@dataclass(frozen=True, slots=True)
class Corpus:
    tenant_id: int
    encoder_id: int
    portfolios: Sequence[Portfolio]

    def of_size(self, size: int) -> list[Portfolio]:
        return [each for each in self.portfolios if each.size == size]


def sizes(chunks: int) -> list[int]:
    """The portfolios' sizes for about so many chunks in all, the largest first: the full
    corpus, or the same with every size divided, down to the smallest."""
    scale = chunks / CHUNKS
    scaled = []
    for size, count in PORTFOLIOS.items():
        each = max(SMALLEST, round(size * scale / SMALLEST) * SMALLEST)
        scaled += [each] * (count if scale >= 1 else max(1, round(count * scale)))
    return scaled


async def fill(owner_url: str, chunks: int, say: Callable[[str], None]) -> Corpus:
    """Make the portfolios, in a migrated database of nobody else's."""
    await prepare(owner_url, ENCODER, DIMENSION)
    made: list[Portfolio] = []
    async with filling(owner_url, np.random.default_rng(20)) as filler:
        connection = filler.connection
        tenant = await connection.fetchval("SELECT id FROM tenants WHERE name = 'default'")
        encoder = await connection.fetchval("SELECT id FROM encoders WHERE name = $1", ENCODER)
        wanted = sizes(chunks)
        done = 0
        for number, size in enumerate(wanted):
            made.append(await filler.portfolio(tenant, f"bench {number}", size))
            done += size
            if size >= chunks // 30 or number == len(wanted) - 1:
                say(f"{done:,} of {sum(wanted):,} chunks in {number + 1} portfolios")
    return Corpus(tenant, encoder, made)


class Filler:
    """Makes one portfolio after another over `connection`, the owner's."""

    def __init__(self, connection: asyncpg.Connection, source: np.random.Generator) -> None:
        self.connection = connection
        self._source = source

    async def portfolio(self, tenant: int, name: str, size: int, centres: Any = None) -> Portfolio:
        """One of `size` chunks, a multiple of ten, in one transaction; around centres of its own
        or those that are given."""
        source, connection = self._source, self.connection
        if centres is None:
            centres = subjects(source, max(2, size // CHUNKS_A_CENTRE))
        vectors = scattered(source, centres[source.integers(0, len(centres), size)])
        await connection.execute("SELECT set_config('app.tenant_id', $1, false)", str(tenant))
        async with connection.transaction():
            await connection.execute("TRUNCATE stage")
            await connection.copy_to_table(
                "stage", source=binary_rows(vectors), format="binary", columns=["n", "embedding"]
            )
            portfolio_id = await connection.fetchval(
                PORTFOLIO, tenant, name, size, size // CHUNKS_A_DOCUMENT, ENCODER
            )
            await connection.execute(DOCUMENTS, tenant, portfolio_id, size)
            await connection.execute(CHUNK_ROWS, tenant, portfolio_id, name)
            await connection.execute(VECTOR_ROWS, tenant, portfolio_id, ENCODER)
        return Portfolio(portfolio_id, size, centres)


@asynccontextmanager
async def filling(owner_url: str, source: np.random.Generator) -> AsyncIterator[Filler]:
    """Fill a database that is prepared for ENCODER; at the end its tables are analysed."""
    async with as_owner(owner_url) as connection:
        await connection.execute(STAGE)
        yield Filler(connection, source)
        for table in ("portfolios", "documents", "rag_chunk", "rag_embedding"):
            await connection.execute(f"VACUUM ANALYZE {table}")


def subjects(source: np.random.Generator, count: int) -> Any:
    """Centres for so many subjects."""
    return unit(source.standard_normal((count, DIMENSION)))


def unit(vectors: Any) -> Any:
    """Each row with length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scattered(source: np.random.Generator, around: Any) -> Any:
    noise = source.standard_normal(around.shape, dtype=np.float32) * SPREAD
    return unit(around + noise)


def binary_rows(vectors: Any) -> "Pages":
    """The rows (n, halfvec) in the format of COPY ... BINARY."""
    fields = [("fields", ">i2"), ("n_bytes", ">i4"), ("n", ">i4"), ("bytes", ">i4"),
              ("dimension", ">i2"), ("unused", ">i2"), ("values", ">f2", DIMENSION)]  # fmt: skip
    rows = np.zeros(len(vectors), dtype=fields)
    rows["fields"], rows["n_bytes"], rows["n"] = 2, 4, np.arange(len(vectors))
    rows["bytes"], rows["dimension"] = 4 + 2 * DIMENSION, DIMENSION
    rows["values"] = vectors
    return Pages(b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff")


class Pages:
    """Bytes in pieces, as asyncpg reads what it copies."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    async def __aiter__(self) -> Any:
        for start in range(0, len(self._content), 1 << 20):
            yield bytes(self._content[start : start + (1 << 20)])
