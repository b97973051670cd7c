"""The terms of a portfolio's chunks, in how many of them each is, and how long they are.

Terms are written before the portfolio is locked and counted after it: what takes long is done
side by side, what two writers share is changed by one after the other.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

# The mean length in the weights may be this far from the true one, so no score is further from
# its BM25 than that, and all of them to the same side. A portfolio is weighed anew a few times in
# its first hundred chunks, later only where texts of another length come.
MEAN_TOLERANCE = 0.03
# Weighing 100,000 chunks took 12 s, a third of it for the index.
WEIGH_SECONDS = 300.0

COUNTED = """
SELECT (SELECT coalesce(sum(length), 0)::bigint FROM changed) AS length,
       coalesce(array_agg(t.term), '{}') AS terms, coalesce(array_agg(t.chunks), '{}') AS chunks
  FROM (SELECT term, count(*)::integer AS chunks
          FROM changed, unnest(terms) AS term GROUP BY 1) t
"""
REMOVE = f"""
WITH changed AS (
    DELETE FROM rag_terms WHERE chunk_id IN (SELECT id FROM rag_chunk WHERE document_id = $1)
    RETURNING length, terms)
{COUNTED}"""  # noqa: S608
ADD = f"""
WITH changed AS (
    INSERT INTO rag_terms (chunk_id, portfolio_id, tenant_id, length, weights, terms, counts)
    SELECT c.id, $2, $1, t.length, term_weights(t.terms, t.counts, t.length, $6), t.terms, t.counts
      FROM rag_chunk c, LATERAL chunk_terms($2, c.language, $4, c.text) t
     WHERE c.document_id = $3 AND c.ordinal = ANY ($5::integer[])
    RETURNING length, terms)
{COUNTED}"""  # noqa: S608
# After the lock, so that two writers never change one term at a time.
COUNT = """
MERGE INTO rag_frequencies f
USING unnest($2::integer[], $3::integer[]) AS n(term, change)
   ON f.portfolio_id = $1 AND f.term = n.term
 WHEN MATCHED AND f.chunks + n.change <= 0 THEN DELETE
 WHEN MATCHED THEN UPDATE SET chunks = f.chunks + n.change
 WHEN NOT MATCHED THEN INSERT (portfolio_id, term, tenant_id, chunks)
      VALUES ($1, n.term, (SELECT tenant_id FROM portfolios WHERE id = $1), n.change)
"""
MEANS = """
SELECT mean_length AS used, length_total::double precision / nullif(chunk_count, 0) AS mean
  FROM portfolios WHERE id = $1
"""
# What another writer holds is being deleted, and waiting for it would be waiting in a circle. By
# arrays: the planner knows nothing of rows that are not committed yet, and joins of thousands of
# them, taken for one, would be loops in loops.
WEIGH = """
UPDATE rag_terms t SET weights = term_weights(t.terms, t.counts, t.length, $3)
 WHERE t.chunk_id = ANY (ARRAY(
    SELECT h.chunk_id FROM rag_terms h
     WHERE h.chunk_id = ANY (ARRAY(
        SELECT c.id FROM rag_chunk c
         WHERE c.portfolio_id = $1 AND ($2::bigint IS NULL OR c.document_id = $2)))
       FOR UPDATE SKIP LOCKED))
"""


@dataclass(slots=True)
class TermChange:
    """What a transaction does to the terms of a portfolio, by one document of it.

    `mean` is the length that it weighs new terms by; `chunks` counts by term.
    """

    portfolio_id: int
    document_id: int
    mean: float
    length: int = 0
    chunks: Counter[int] = field(default_factory=Counter)

    def count(self, row: asyncpg.Record, sign: int) -> None:
        self.length += sign * row["length"]
        for term, chunks in zip(row["terms"], row["chunks"], strict=True):
            self.chunks[term] += sign * chunks


async def begin_terms(
    connection: asyncpg.Connection, portfolio_id: int, document_id: int
) -> TermChange:
    mean = await connection.fetchval(
        "SELECT mean_length FROM portfolios WHERE id = $1", portfolio_id
    )
    return TermChange(portfolio_id, document_id, mean)


async def remove_terms(connection: asyncpg.Connection, change: TermChange) -> None:
    """Remove the terms of the document's chunks, which are there still."""
    change.count(await connection.fetchrow(REMOVE, change.document_id), -1)


async def add_terms(
    connection: asyncpg.Connection,
    owner: tuple[int, int, int],
    title: str,
    ordinals: Sequence[int],
    change: TermChange,
) -> None:
    """Store the terms of the document's chunks of these ordinals. `owner` is tenant, portfolio
    and document."""
    change.count(await connection.fetchrow(ADD, *owner, title, ordinals, change.mean), 1)


async def settle_terms(connection: asyncpg.Connection, change: TermChange) -> None:
    """Count the change, and weigh terms anew where their mean length is not right any more. The
    caller has locked the portfolio by adding the change's length to it."""
    changed = {term: chunks for term, chunks in change.chunks.items() if chunks}
    await connection.execute(COUNT, change.portfolio_id, list(changed), list(changed.values()))
    used, mean = await connection.fetchrow(MEANS, change.portfolio_id)
    if mean and abs(mean / used - 1) > MEAN_TOLERANCE:
        await connection.execute(
            "UPDATE portfolios SET mean_length = $2 WHERE id = $1", change.portfolio_id, mean
        )
        await _weigh(connection, change.portfolio_id, None, mean)
    elif used != change.mean:  # another writer weighed all but this one's
        await _weigh(connection, change.portfolio_id, change.document_id, used)


async def _weigh(
    connection: asyncpg.Connection, portfolio_id: int, document_id: int | None, mean: float
) -> None:
    await connection.execute(WEIGH, portfolio_id, document_id, mean, timeout=WEIGH_SECONDS)
