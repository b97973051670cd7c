"""Conversations as they are read afterwards."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete

from app.chat.administration import ConversationRecord, MessageRecord, Page
from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores.citations import citation
from app.stores.database import Database
from app.stores.pages import after_time, page, time_cursor
from app.stores.schema import conversations

READING = "SELECT id, agent_id, title, created_at, updated_at FROM conversations"
FIRST = f"{READING} ORDER BY updated_at DESC, id DESC LIMIT $5"
NEXT = f"{READING} WHERE (updated_at, id) < ($6, $7) ORDER BY updated_at DESC, id DESC LIMIT $5"
GET = f"{READING} WHERE id = $5"
MESSAGES = """
SELECT m.id, m.run_id, m.role, m.content, m.status, m.created_at,
       coalesce((SELECT jsonb_agg(to_jsonb(c) ORDER BY c.id)
                   FROM citations c WHERE c.message_id = m.id), '[]') AS citations
  FROM messages m WHERE m.conversation_id = $5 ORDER BY m.seq
"""
MISSING = "There is no such conversation."


class PgHistory:
    """The port `History` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[ConversationRecord]:
        """Those with the latest turn first."""
        if after is None:
            rows = await self._database.read(caller, FIRST, limit + 1)
        else:
            rows = await self._database.read(caller, NEXT, limit + 1, *after_time(after))
        return page(rows, limit, _record, lambda row: time_cursor(row["updated_at"], row["id"]))

    async def get(
        self, caller: Scope | Claim, conversation_id: UUID
    ) -> tuple[ConversationRecord, Sequence[MessageRecord]]:
        """The conversation and its messages, oldest first, each with its citations."""
        found = await self._database.read(caller, GET, conversation_id)
        if not found:
            raise NotFound(MISSING)
        messages = await self._database.read(caller, MESSAGES, conversation_id)
        return _record(found[0]), [_message(row) for row in messages]

    async def delete(self, scope: Scope, conversation_id: UUID) -> None:
        """Remove the conversation with its messages, citations and runs."""
        statement = delete(conversations).where(conversations.c.id == conversation_id)
        async with self._database.session(scope) as session:
            if not (await session.execute(statement.returning(conversations.c.id))).all():
                raise NotFound(MISSING)


def _record(row: Mapping[str, Any]) -> ConversationRecord:
    return ConversationRecord(**row)


def _message(row: Mapping[str, Any]) -> MessageRecord:
    return MessageRecord(**{**row, "citations": [citation(each) for each in row["citations"]]})
