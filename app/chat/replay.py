"""The events of an answer that is over, from what was stored of it."""

from collections.abc import Sequence

from app.chat.events import Done, Event, Failed, Sources, Start, Token
from app.chat.model import MAX_EVENT_CHARS
from app.chat.ports import Turn
from app.errors import AppError, named


def replay(turn: Turn) -> Sequence[Event]:
    """From `start` to the terminal one. Where the answer was cut into tokens is not stored, nor
    what a failure said beyond its code."""
    tokens = [
        Token(turn.answer[at : at + MAX_EVENT_CHARS])
        for at in range(0, len(turn.answer), MAX_EVENT_CHARS)
    ]
    start = Start(turn.run_id, turn.conversation_id, turn.message_id)
    return [start, Sources(turn.sources), *tokens, _end(turn)]


def _end(turn: Turn) -> Event:
    if turn.status != "complete":
        return failed(named(turn.error_code or "interrupted"))
    return Done(
        citations=turn.citations,
        cached=turn.cached,
        run_id=turn.run_id,
        conversation_id=turn.conversation_id,
        message_id=turn.message_id,
        complexity=turn.complexity,
        top_k=turn.top_k,
        max_tokens=turn.max_tokens,
        language=turn.language,
        usage=turn.usage,
        timings_ms=turn.timings_ms,
        degraded=turn.degraded,
        finish_reason=turn.finish_reason or "stop",
    )


def failed(error: AppError) -> Failed:
    """The `error` event of an error."""
    return Failed(error.code, error.message, error.retryable, error.status)
