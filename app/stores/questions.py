"""What was asked how often, and what next: to ask it in advance."""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from app.chat.model import Scope
from app.chat.warming import Asked
from app.stores.database import Database, checked_id

# Of an agent's latest runs: what is asked often is found in a sample as well, and a look at all
# of a year's would hold a connection for seconds.
FREQUENT_SAMPLE = 100_000
# It runs after each answer that is followed by silence.
NEXT_SAMPLE = 10_000
# More different messages than are ever warmed, because some of them are follow-ups.
MESSAGES = 2_000
NEXT_MESSAGES = 50

# Ids are UUIDv7: the latest have the greatest.
FREQUENT = """
SELECT q.content AS message, r.language, count(*) AS times
  FROM (SELECT question_id, language FROM runs
         WHERE agent_id = $1 AND status = 'complete' AND started_at > now() - $2::interval
         ORDER BY id DESC LIMIT $3) r
  JOIN messages q ON q.id = r.question_id
 GROUP BY q.content, r.language
 ORDER BY times DESC, message
 LIMIT $4
"""
NEXT = """
SELECT q.content AS message, n.language, count(*) AS times
  FROM (SELECT id, conversation_id, question_id, finished_at FROM runs
         WHERE agent_id = $1 AND started_at > now() - $2::interval
         ORDER BY id DESC LIMIT $3) r
  JOIN messages before ON before.id = r.question_id AND before.content = $5
  CROSS JOIN LATERAL (
       SELECT question_id, language FROM runs
        WHERE conversation_id = r.conversation_id AND finished_at > r.finished_at
        ORDER BY finished_at LIMIT 1) n
  JOIN messages q ON q.id = n.question_id
 GROUP BY q.content, n.language
 ORDER BY times DESC, message
 LIMIT $4
"""


class PgQuestions:
    """The ports `FrequentQuestions` and `NextQuestions` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def frequent(self, scope: Scope, agent_id: int, days: int) -> Sequence[Asked]:
        """The messages that the agent answered most often in the last days, most often first."""
        found = await self._fetch(
            scope, FREQUENT, agent_id, timedelta(days=days), FREQUENT_SAMPLE, MESSAGES
        )
        return [Asked(**row) for row in found]

    async def following(
        self, scope: Scope, agent_id: int, message: str, days: int
    ) -> Sequence[Asked]:
        """The messages that came next after this one in its conversations of the last days, most
        often first."""
        found = await self._fetch(
            scope, NEXT, agent_id, timedelta(days=days), NEXT_SAMPLE, NEXT_MESSAGES, message
        )
        return [Asked(**row) for row in found]

    async def _fetch(
        self, scope: Scope, query: str, agent_id: int, *values: object
    ) -> Sequence[asyncpg.Record]:
        async with self._database.transaction(scope) as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(
                query, checked_id(agent_id), *values
            )
        return rows
