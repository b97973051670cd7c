"""A question's rows as the core has them, and a turn as `store_turn` takes it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import asyncpg

from app.chat.model import (
    Agent,
    ChatMessage,
    Citation,
    Passage,
    Portfolio,
    QueryComplexity,
    Scope,
    Usage,
)
from app.chat.ports import Loaded, Turn

TITLE_CHARS = 80
TOLD = ("number", "chunk_id", "title", "uri", "score")  # of a passage, to a reader

Payload: TypeAlias = dict[str, Any]


def loaded(row: asyncpg.Record, tenant_id: int, scope: Scope | None) -> Loaded:
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
        fallback_provider=row["fallback_provider"],
        fallback_model=row["fallback_model"],
        semantic_threshold=row["semantic_threshold"],
        tenant_id=tenant_id,
        base_url=row["base_url"],
        sealed_key=row["api_key_sealed"],
    )
    return Loaded(
        agent=agent,
        portfolio=_portfolio(row, "portfolio"),
        history=history,
        tenant_epoch=row["tenant_epoch"],
        persona=_portfolio(row, "persona"),
        scope=scope,
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


def turn_of(row: asyncpg.Record, cited: Sequence[Citation]) -> Turn:
    return Turn(
        run_id=row["id"],
        conversation_id=row["conversation_id"],
        new_conversation=False,
        question_id=row["question_id"],
        message_id=row["message_id"],
        agent_id=row["agent_id"],
        question=row["question"],
        answer=row["answer"],
        citations=cited,
        status=row["status"],
        cached=row["cached"],
        language=row["language"],
        complexity=QueryComplexity(row["complexity"]),
        finish_reason=row["finish_reason"],
        error_code=row["error_code"],
        usage=Usage(**row["usage"]),
        timings_ms=row["timings_ms"],
        degraded=row["degraded"],
        sources=[_passage(source) for source in row["sources"]],
        top_k=row["top_k"],
        max_tokens=row["max_tokens"],
    )


def _source(passage: Passage) -> dict[str, Any]:
    """What a reader is told of a passage."""
    return {name: getattr(passage, name) for name in TOLD}


def _passage(source: Mapping[str, Any]) -> Passage:
    """A passage of which that is all that is known."""
    return Passage(document_id=0, text="", start=0, end=0, **source)


def payload(turn: Turn) -> Payload:
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
        "citations": list(turn.citations),  # orjson knows dataclasses
        "status": turn.status,
        "cached": turn.cached,
        "language": turn.language,
        "complexity": turn.complexity,
        "finish_reason": turn.finish_reason,
        "error_code": turn.error_code,
        "usage": turn.usage,
        "timings_ms": dict(turn.timings_ms),
        "degraded": list(turn.degraded),
        "sources": [_source(passage) for passage in turn.sources],
        "top_k": turn.top_k,
        "max_tokens": turn.max_tokens,
    }
