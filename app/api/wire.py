"""Domain values to the JSON objects of `shapes`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from app.api.shapes import (
    AgentJson,
    AnswerJson,
    CitationJson,
    ConversationJson,
    ConversationMessagesJson,
    DocumentJson,
    DocumentSummaryJson,
    DoneJson,
    MessageJson,
    PassageJson,
    PortfolioJson,
    RetrievalJson,
    SourceJson,
    UsageJson,
)
from app.chat.administration import (
    AgentRecord,
    ConversationRecord,
    MessageRecord,
    Page,
    PortfolioRecord,
)
from app.chat.events import Answer, Done
from app.chat.model import Citation, Passage, Usage
from app.chat.ports import Retrieval
from app.ingest.ports import DocumentRecord

Item = TypeVar("Item")


def usage_json(usage: Usage) -> UsageJson:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "estimated": usage.estimated,
    }


def citation_json(citation: Citation) -> CitationJson:
    return {
        "number": citation.number,
        "document_id": citation.document_id,
        "chunk_id": citation.chunk_id,
        "title": citation.title,
        "uri": citation.uri,
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "score": citation.score,
    }


def done_json(done: Done) -> DoneJson:
    return {
        "citations": [citation_json(citation) for citation in done.citations],
        "cached": done.cached,
        "run_id": done.run_id,
        "conversation_id": done.conversation_id,
        "message_id": done.message_id,
        "complexity": done.complexity.value,
        "top_k": done.top_k,
        "max_tokens": done.max_tokens,
        "language": done.language,
        "usage": usage_json(done.usage),
        "timings_ms": dict(done.timings_ms),
        "degraded": list(done.degraded),
        "finish_reason": done.finish_reason,
    }


def answer_json(answer: Answer) -> AnswerJson:
    return {"answer": answer.text, **done_json(answer.done)}


def source_json(passage: Passage) -> SourceJson:
    return {
        "number": passage.number,
        "title": passage.title,
        "uri": passage.uri,
        "chunk_id": passage.chunk_id,
        "score": passage.score,
    }


def retrieval_json(retrieval: Retrieval) -> RetrievalJson:
    return {
        "passages": [passage_json(passage) for passage in retrieval.passages],
        "timings_ms": dict(retrieval.timings_ms),
        "degraded": list(retrieval.degraded),
    }


def passage_json(passage: Passage) -> PassageJson:
    return {
        "number": passage.number,
        "chunk_id": passage.chunk_id,
        "document_id": passage.document_id,
        "title": passage.title,
        "uri": passage.uri,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
        "sources": dict(passage.sources),
    }


def agent_json(agent: AgentRecord) -> AgentJson:
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description,
        "system_prompt": agent.system_prompt,
        "provider": agent.provider,
        "model": agent.model,
        "portfolio_id": agent.portfolio_id,
        "persona_portfolio_id": agent.persona_portfolio_id,
        "fallback_provider": agent.fallback_provider,
        "fallback_model": agent.fallback_model,
        "semantic_threshold": agent.semantic_threshold,
        "base_url": agent.base_url,
        "api_key_last4": agent.api_key_last4,
        "api_key_state": agent.api_key_state,
        "top_k": agent.top_k,
        "max_tokens": agent.max_tokens,
        "temperature": agent.temperature,
        "version": agent.version,
        "created_at": agent.created_at,
        "updated_at": agent.updated_at,
    }


def portfolio_json(portfolio: PortfolioRecord) -> PortfolioJson:
    return {
        "id": portfolio.id,
        "name": portfolio.name,
        "description": portfolio.description,
        "version": portfolio.version,
        "document_count": portfolio.document_count,
        "chunk_count": portfolio.chunk_count,
        "readers": None if portfolio.readers is None else list(portfolio.readers),
        "writers": list(portfolio.writers),
        "created_at": portfolio.created_at,
        "updated_at": portfolio.updated_at,
    }


def document_summary_json(document: DocumentRecord) -> DocumentSummaryJson:
    """A document in a list: everything but its text."""
    return {
        "id": document.id,
        "portfolio_id": document.portfolio_id,
        "title": document.title,
        "uri": document.uri,
        "language": document.language,
        "status": document.status,
        "error": document.error,
        "metadata": dict(document.metadata),
        "chunk_count": document.chunk_count,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
    }


def document_json(document: DocumentRecord) -> DocumentJson:
    return {**document_summary_json(document), "text": document.text}


def conversation_json(conversation: ConversationRecord) -> ConversationJson:
    return {
        "id": conversation.id,
        "agent_id": conversation.agent_id,
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    }


def conversation_messages_json(
    conversation: ConversationRecord, messages: Sequence[MessageRecord]
) -> ConversationMessagesJson:
    return {
        **conversation_json(conversation),
        "messages": [message_json(message) for message in messages],
    }


def message_json(message: MessageRecord) -> MessageJson:
    return {
        "id": message.id,
        "run_id": message.run_id,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "citations": [citation_json(citation) for citation in message.citations],
        "created_at": message.created_at,
    }


def page_json(page: Page[Item], item_json: Callable[[Item], Mapping[str, Any]]) -> dict[str, Any]:
    return {"items": [item_json(item) for item in page.items], "next": page.next}
