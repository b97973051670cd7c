"""Conversations as they are read afterwards."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, tuple_

from app.chat.administration import ConversationRecord, MessageRecord, Page
from app.chat.model import Citation, Claim, Scope
from app.errors import NotFound
from app.stores.citations import citation
from app.stores.database import Database
from app.stores.pages import after_time, page, time_cursor
from app.stores.schema import citations, conversations, messages

SHOWN = (
    conversations.c.id, conversations.c.agent_id, conversations.c.title,
    conversations.c.created_at, conversations.c.updated_at,
)  # fmt: skip
MISSING = "There is no such conversation."


class PgHistory:
    """The port `History` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[ConversationRecord]:
        """Those with the latest turn first."""
        order = tuple_(conversations.c.updated_at, conversations.c.id)
        statement = select(*SHOWN).order_by(
            conversations.c.updated_at.desc(), conversations.c.id.desc()
        )
        if after is not None:
            statement = statement.where(order < after_time(after))
        async with self._database.session(caller) as session:
            rows = (await session.execute(statement.limit(limit + 1))).all()
        return page(rows, limit, _record, lambda row: time_cursor(row.updated_at, row.id))

    async def get(
        self, caller: Scope | Claim, conversation_id: UUID
    ) -> tuple[ConversationRecord, Sequence[MessageRecord]]:
        """The conversation and its messages, oldest first, each with its citations."""
        async with self._database.session(caller) as session:
            found = await session.execute(
                select(*SHOWN).where(conversations.c.id == conversation_id)
            )
            if (conversation := found.one_or_none()) is None:
                raise NotFound(MISSING)
            written = await session.execute(
                select(messages)
                .where(messages.c.conversation_id == conversation_id)
                .order_by(messages.c.seq)
            )
            cited = await session.execute(
                select(citations)
                .join(messages, messages.c.id == citations.c.message_id)
                .where(messages.c.conversation_id == conversation_id)
                .order_by(citations.c.id)
            )
        by_message: dict[UUID, list[Citation]] = {}
        for row in cited:
            by_message.setdefault(row.message_id, []).append(citation(row))
        return _record(conversation), [_message(row, by_message.get(row.id, ())) for row in written]

    async def delete(self, scope: Scope, conversation_id: UUID) -> None:
        """Remove the conversation with its messages, citations and runs."""
        statement = delete(conversations).where(conversations.c.id == conversation_id)
        async with self._database.session(scope) as session:
            if not (await session.execute(statement.returning(conversations.c.id))).all():
                raise NotFound(MISSING)


def _record(row: Row[*tuple[Any, ...]]) -> ConversationRecord:
    return ConversationRecord(**row._mapping)


def _message(row: Row[*tuple[Any, ...]], cited: Sequence[Citation]) -> MessageRecord:
    return MessageRecord(
        id=row.id,
        run_id=row.run_id,
        role=row.role,
        content=row.content,
        status=row.status,
        citations=cited,
        created_at=row.created_at,
    )
