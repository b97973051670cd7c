"""What the question path reads and writes: one round trip each way."""

from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from app.chat.administration import UNKNOWN
from app.chat.model import Claim, Ids, Question, Scope
from app.chat.ports import Begun, IdempotencyKey, Loaded, Turn
from app.errors import IdempotencyMismatch, NotFound, Unauthorized
from app.stores.citations import citation
from app.stores.database import MAX_ID, Database, who
from app.stores.tenants import resolved
from app.stores.together import Together
from app.stores.turns import Payload, loaded, payload, turn_of

LOAD = "SELECT * FROM load_question(enter($1, $2, $3, $4), $5, $6, $7, $8)"
# Whose credential it is and what is asked, in one round trip. Without such a credential there is no
# tenant, and row level security shows nothing.
CLAIM = """
SELECT (k.it).tenant_id, (k.it).subject, (k.it).role, (k.it).portfolios, l.*
  FROM (SELECT resolve_credential($1, $2, $3, $4) AS it OFFSET 0) k
  LEFT JOIN LATERAL load_question(
       enter((k.it).tenant_id, (k.it).subject, (k.it).role, (k.it).portfolios), $5, $6, $7, $8) l
       ON (k.it).subject IS NOT NULL
"""
STORE = "SELECT store_turn(enter($1, $2, $3, $4), $5)"
BEGIN = "SELECT * FROM begin_turn(enter($1, $2, $3, $4), $5, $2, NULL, NULL, $6)"
BEGIN_ONCE = "SELECT * FROM begin_turn(enter($1, $2, $3, $4), $5, $2, $7, $8, $6)"
# The same for several at once, of one caller. OFFSET 0: he enters once, before all of them.
LOAD_ALL = """
SELECT l.*
  FROM (SELECT enter($1, $2, $3, $4) AS tenant_id OFFSET 0) k
 CROSS JOIN unnest($5::bigint[], $6::text[], $7::bigint[], $8::uuid[])
       WITH ORDINALITY AS q (agent_id, agent_name, portfolio_id, conversation_id, number)
 CROSS JOIN LATERAL load_question(
       k.tenant_id, q.agent_id, q.agent_name, q.portfolio_id, q.conversation_id) l
 ORDER BY q.number
"""
CLAIM_ALL = """
SELECT k.tenant_id, k.subject, k.role, k.portfolios, l.*
  FROM (SELECT r.*, enter(r.tenant_id, r.subject, r.role, r.portfolios) AS entered
          FROM resolve_credential($1, $2, $3, $4) r OFFSET 0) k
 CROSS JOIN unnest($5::bigint[], $6::text[], $7::bigint[], $8::uuid[])
       WITH ORDINALITY AS q (agent_id, agent_name, portfolio_id, conversation_id, number)
  LEFT JOIN LATERAL load_question(
       k.entered, q.agent_id, q.agent_name, q.portfolio_id, q.conversation_id) l
       ON k.subject IS NOT NULL
 ORDER BY q.number
"""
# What waits for a lock is soon given up, and each turn tried by itself: no lock that somebody else
# needs is held for longer, and no deadlock waits for its second.
STORE_ALL = """
SELECT store_turn(k.tenant_id, t.turn)
  FROM (SELECT enter($1, $2, $3, $4) AS tenant_id, set_config('lock_timeout', '50ms', true)
        OFFSET 0) k
 CROSS JOIN unnest($5::jsonb[]) WITH ORDINALITY AS t (turn, number)
 ORDER BY t.number
"""
BEGIN_ALL = """
SELECT b.*
  FROM (SELECT enter($1, $2, $3, $4) AS tenant_id, set_config('lock_timeout', '50ms', true)
        OFFSET 0) k
 CROSS JOIN unnest($5::jsonb[]) WITH ORDINALITY AS t (turn, number)
 CROSS JOIN LATERAL begin_turn(k.tenant_id, t.turn, $2, NULL, NULL, $6) b
 ORDER BY t.number
"""
DELETED = "The conversation was deleted while it was being answered."
STREAMING = """
SELECT id FROM runs WHERE status = 'streaming' AND (conversation_id = $1 OR agent_id = $2)
"""
# A run is seen by those who see its conversation.
FIND = """
SELECT r.*, q.content AS question, coalesce(m.content, '') AS answer
  FROM runs r
  JOIN conversations c ON c.id = r.conversation_id
  JOIN messages q ON q.id = r.question_id
  LEFT JOIN messages m ON m.id = r.message_id
 WHERE r.id = $1
"""
CITED = "SELECT * FROM citations WHERE message_id = $1 ORDER BY id"
# A process tells every few seconds that its runs are alive; one that has not for so long is dead.
DEAD_AFTER = timedelta(seconds=20)
IDS = ("run_id", "conversation_id", "question_id", "message_id")


# Of a question: the agent's id or name, a portfolio, a conversation.
Asked: TypeAlias = tuple[int | None, str | None, int | None, UUID | None]


class PgConversations:
    """The port `Conversations` on Postgres, under the tenant's row level security."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loading = Together(self._load, self._load_all)
        self._beginning = Together(self._begin, self._begin_all)
        self._storing = Together(self._store, self._store_all)

    async def load(self, scope: Scope | Claim, question: Question) -> Loaded:
        """Agent, portfolio, versions and the last ten whole turns.

        NotFound for an agent, portfolio or conversation that the tenant does not have, and for a
        conversation with another agent or of another subject. Unauthorized for a claim that is
        nobody's, or is revoked or has expired.
        """
        agent, claimed = question.agent, isinstance(scope, Claim)
        values = (
            _id_or_nothing(agent) if isinstance(agent, int) else None,
            agent if isinstance(agent, str) else None,
            None if question.portfolio_id is None else _id_or_nothing(question.portfolio_id),
            question.conversation_id,
        )
        row = await self._loading.do(scope, values)
        if claimed and row["subject"] is None:
            raise Unauthorized(UNKNOWN)
        if row["agent_id"] is None:
            raise NotFound("There is no such agent.")
        if question.portfolio_id is not None and row["portfolio_id"] is None:
            raise NotFound("There is no such portfolio.")
        if question.conversation_id is not None and not row["conversation_found"]:
            raise NotFound("There is no such conversation with this agent.")
        found = resolved(row) if isinstance(scope, Claim) else scope
        return loaded(row, found.tenant_id, found if claimed else None)

    async def begin_turn(self, scope: Scope, turn: Turn, key: IdempotencyKey | None) -> Begun:
        """Store the question and its run, or find the run of a request that was sent before.

        NotFound where the agent or the continued conversation is gone, IdempotencyMismatch where
        the key was another request's.
        """
        if key is None:
            row = await self._beginning.do(scope, payload(turn))
        else:  # alone: it waits for who has sent the same
            [row] = await self._database.fetch(
                BEGIN_ONCE, *who(scope), payload(turn), DEAD_AFTER, key.key, key.digest
            )
        if row["outcome"] == "mismatch":
            raise IdempotencyMismatch
        ids = Ids(*(row[name] for name in IDS))
        return Begun(row["outcome"] == "fresh", ids)

    async def find_run(self, scope: Scope, run_id: UUID) -> Turn:
        """A run as it is stored; NotFound."""
        async with self._database.transaction(scope) as connection:
            row = await connection.fetchrow(FIND, run_id)
            if row is None:
                raise NotFound("There is no such run.")
            cited = await connection.fetch(CITED, row["message_id"])
        return turn_of(row, [citation(each) for each in cited])

    async def keep_alive(self, run_ids: Sequence[UUID]) -> None:
        """Say that these runs are being produced."""
        await self._database.fetch("SELECT keep_runs_alive($1)", list(run_ids))

    async def interrupt_dead(self) -> int:
        """Mark the runs of processes that are gone, of any tenant, as interrupted; how many."""
        [row] = await self._database.fetch("SELECT interrupt_dead_runs($1) AS count", DEAD_AFTER)
        return int(row["count"])

    async def streaming(
        self, scope: Scope, conversation_id: UUID | None, agent_id: int | None
    ) -> Sequence[UUID]:
        """The runs that are being produced, of the conversation or the agent."""
        async with self._database.transaction(scope) as connection:
            rows = await connection.fetch(STREAMING, conversation_id, agent_id)
        return [row["id"] for row in rows]

    async def store_turn(self, scope: Scope, turn: Turn) -> None:
        """Store question, answer, citations and run, all or none, in the place of what was begun.

        NotFound where the agent or the conversation was deleted meanwhile.
        """
        row = await self._storing.do(scope, payload(turn))
        if not row["store_turn"]:
            raise NotFound(DELETED)

    async def _load(self, scope: Scope | Claim, values: Asked) -> asyncpg.Record:
        query = CLAIM if isinstance(scope, Claim) else LOAD
        [row] = await self._database.fetch(query, *who(scope), *values)
        return row

    async def _load_all(
        self, scope: Scope | Claim, values: Sequence[Asked]
    ) -> Sequence[asyncpg.Record]:
        query = CLAIM_ALL if isinstance(scope, Claim) else LOAD_ALL
        columns = zip(*values, strict=True)
        return await self._database.fetch(query, *who(scope), *map(list, columns))

    async def _begin(self, scope: Scope, turn: Payload) -> asyncpg.Record:
        [row] = await self._database.fetch(BEGIN, *who(scope), turn, DEAD_AFTER)
        return row

    async def _begin_all(self, scope: Scope, turns: Sequence[Payload]) -> Sequence[asyncpg.Record]:
        return await self._in_order(BEGIN_ALL, scope, turns, DEAD_AFTER)

    async def _store(self, scope: Scope, turn: Payload) -> asyncpg.Record:
        [row] = await self._database.fetch(STORE, *who(scope), turn)
        return row

    async def _store_all(self, scope: Scope, turns: Sequence[Payload]) -> Sequence[asyncpg.Record]:
        return await self._in_order(STORE_ALL, scope, turns)

    async def _in_order(
        self, query: str, scope: Scope, turns: Sequence[Payload], *values: Any
    ) -> Sequence[asyncpg.Record]:
        """By conversation, so that no two processes wait for each other's."""
        order = sorted(range(len(turns)), key=lambda n: turns[n]["conversation_id"])
        rows = await self._database.fetch(query, *who(scope), [turns[n] for n in order], *values)
        return [row for _, row in sorted(zip(order, rows, strict=True), key=itemgetter(0))]


def _id_or_nothing(value: int) -> int:
    """An id that the database can hold, of nothing where this one is not: who asks has to be known
    before he is told so."""
    return value if 0 < value <= MAX_ID else 0
