"""What the question path reads and writes: one round trip each way."""

from dataclasses import asdict
from typing import Any

import asyncpg

from app.chat.model import Agent, ChatMessage, Portfolio, Question, Scope
from app.chat.ports import Loaded, Turn
from app.errors import NotFound
from app.stores.database import Database, checked_id

LOAD = "SELECT * FROM load_question($1, $2, $3, $4, $5)"
STORE = "SELECT store_turn($1, $2)"
TITLE_CHARS = 80


class PgConversations:
    """The port `Conversations` on Postgres, under the tenant's row level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, scope: Scope, question: Question) -> Loaded:
        """Agent, portfolio, versions and the last ten whole turns.

        NotFound for an agent, portfolio or conversation that the tenant does not have, and for a
        conversation with another agent.
        """
        named = isinstance(question.agent, str)
        [row] = await self._database.fetch(
            LOAD,
            scope.tenant_id,
            None if named else checked_id(int(question.agent)),
            question.agent if named else None,
            None if question.portfolio_id is None else checked_id(question.portfolio_id),
            question.conversation_id,
        )
        if row["agent_id"] is None:
            raise NotFound("There is no such agent.")
        if question.portfolio_id is not None and row["portfolio_id"] is None:
            raise NotFound("There is no such portfolio.")
        if question.conversation_id is not None and not row["conversation_found"]:
            raise NotFound("There is no such conversation with this agent.")
        return _loaded(row)

    async def store_turn(self, scope: Scope, turn: Turn) -> None:
        """Store question, answer, citations and run, all or none.

        Stores nothing where the agent or the continued conversation was deleted meanwhile.
        """
        await self._database.fetch(STORE, scope.tenant_id, _payload(turn))


def _loaded(row: asyncpg.Record) -> Loaded:
    history: list[ChatMessage] = []
    for question, answer in zip(row["questions"] or (), row["answers"] or (), strict=True):
        history += (ChatMessage("user", question), ChatMessage("assistant", answer))
    agent = Agent(
        id=row["agent_id"],
        name=row["agent_name"],
        system_prompt=row["system_prompt"],
        provider=row["provider"],
        model=row["model"],
        portfolio_id=row["agent_portfolio_id"],
        top_k=row["top_k"],
        max_tokens=row["max_tokens"],
        temperature=row["temperature"],
        version=row["agent_version"],
        cache_epoch=row["agent_epoch"],
        persona_portfolio_id=row["persona_id"],
    )
    return Loaded(
        agent=agent,
        portfolio=_portfolio(row, "portfolio"),
        history=history,
        tenant_epoch=row["tenant_epoch"],
        persona=_portfolio(row, "persona"),
    )


def _portfolio(row: asyncpg.Record, prefix: str) -> Portfolio | None:
    if row[f"{prefix}_id"] is None:
        return None
    return Portfolio(
        id=row[f"{prefix}_id"],
        name=row[f"{prefix}_name"],
        version=row[f"{prefix}_version"],
        encoder=row[f"{prefix}_encoder"],
        cache_epoch=row[f"{prefix}_epoch"],
    )


def _payload(turn: Turn) -> dict[str, Any]:
    return {
        "run_id": turn.run_id,
        "conversation_id": turn.conversation_id,
        "new_conversation": turn.new_conversation,
        "title": " ".join(turn.question[: 4 * TITLE_CHARS].split())[:TITLE_CHARS],
        "question_id": turn.question_id,
        "message_id": turn.message_id,
        "agent_id": turn.agent_id,
        "question": turn.question,
        "answer": turn.answer,
        "citations": [asdict(citation) for citation in turn.citations],
        "status": turn.status,
        "cached": turn.cached,
        "language": turn.language,
        "complexity": turn.complexity,
        "finish_reason": turn.finish_reason,
        "error_code": turn.error_code,
        "usage": asdict(turn.usage),
        "timings_ms": dict(turn.timings_ms),
        "degraded": list(turn.degraded),
    }
