"""Encoders by name, and which of them a portfolio has vectors of.

Encoders are made by the owner (`app.stores.encoder_indexes`) and never change. Whoever writes
vectors holds the portfolio's encoders (`hold_encoders`) before it reads which they are
(`encoders_of`); whoever changes them excludes the writers (`exclude_writers`). So each chunk that
is there when the encoders change has the vectors that were asked for before, and each later one
those that are asked for now.
"""

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg
from pgvector import HalfVector

from app.chat.model import Scope, Vector
from app.errors import EncoderUnavailable, NotFound
from app.stores.database import Database, checked_id, who

# An advisory lock, because it is fair: a row's shared locks would keep an exclusive one waiting
# for as long as there is always some document being indexed.
LOCK = "hashtextextended('encoders of portfolio ' || $1::bigint, 0)"
HOLD = f"SELECT pg_advisory_xact_lock_shared({LOCK})"
EXCLUDE = f"SELECT pg_advisory_xact_lock({LOCK})"
ENCODERS_OF = """
SELECT e.id, e.name, e.dimension
  FROM portfolios p JOIN encoders e ON e.id IN (p.encoder_id, p.next_encoder_id)
 WHERE p.id = $1 ORDER BY e.id = p.encoder_id DESC
"""
SERVING = "SELECT portfolio_encoder(enter($1, $2, $3, $4), $5) AS name"
# One statement of a large document's transaction takes up to half a second; it has dozens.
EXCLUDE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EncoderRow:
    """An encoder as the embeddings refer to it."""

    id: int
    name: str
    dimension: int

    def halfvec(self, vector: Vector) -> HalfVector:
        """The vector as stored; EncoderUnavailable where its length is not the encoder's."""
        if len(vector) != self.dimension:
            raise EncoderUnavailable(
                f"The encoder gave a vector of {len(vector)} values where {self.name} "
                f"has {self.dimension}."
            )
        return HalfVector(list(vector))


class Encoders:
    """Looks encoders up, each once a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, EncoderRow] = {}

    async def find(self, name: str) -> EncoderRow:
        """The encoder; EncoderUnavailable where the database was not prepared for it."""
        return await self.first([name])

    async def first(self, names: Collection[str]) -> EncoderRow:
        """The first of the encoders that the database is prepared for, else EncoderUnavailable."""
        if not names:
            raise EncoderUnavailable
        for name in names:
            if name not in self._known:
                rows = await self._database.fetch(
                    "SELECT id, name, dimension FROM encoders WHERE name = $1", name
                )
                if not rows:
                    continue
                self._known[name] = EncoderRow(*rows[0])
            return self._known[name]
        raise EncoderUnavailable("The database is not prepared for this encoder.")

    async def serving(self, scope: Scope, portfolio_id: int) -> str:
        """The name of the encoder that serves the portfolio; NotFound for the portfolio."""
        [row] = await self._database.fetch(SERVING, *who(scope), checked_id(portfolio_id))
        if row["name"] is None:
            raise NotFound
        return str(row["name"])


async def hold_encoders(connection: asyncpg.Connection, portfolio_id: int) -> None:
    """Keep the portfolio's encoders as they are until this transaction ends."""
    await connection.execute(HOLD, portfolio_id)


async def exclude_writers(connection: asyncpg.Connection, portfolio_id: int) -> None:
    """Wait for the portfolio's writers, and keep others waiting until this transaction ends."""
    await connection.execute(EXCLUDE, portfolio_id, timeout=EXCLUDE_SECONDS)


async def encoders_of(connection: asyncpg.Connection, portfolio_id: int) -> list[EncoderRow]:
    """Whose vectors the portfolio's chunks need: the serving encoder's, then the next one's.
    Empty where the portfolio is gone."""
    return [EncoderRow(*row) for row in await connection.fetch(ENCODERS_OF, portfolio_id)]
