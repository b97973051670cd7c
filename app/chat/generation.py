"""From passages to tokens: the prompt, the provider's stream, and citations on their way out."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from app.chat.citations import CitationDecoder
from app.chat.model import MAX_EVENT_CHARS
from app.chat.plan import Draft
from app.chat.ports import Finish, Prompt
from app.chat.prompt import build_messages


async def generate(
    draft: Draft, nonce: str, passed: Callable[[int], None]
) -> AsyncGenerator[Sequence[str], None]:
    """Yield the answer as the provider says it, those pieces together that came together, and take
    its end into the draft. `passed` is told how many deltas of the provider's have come."""
    decoder = draft.decoder = CitationDecoder({each.number for each in draft.passages})
    stopwatch, pieces = draft.stopwatch, draft.pieces
    with stopwatch.stage("generate"):
        async with aclosing(draft.plan.provider.stream(_prompt(draft, nonce))) as stream:
            async for item in stream:
                if isinstance(item, Finish):
                    draft.usage, draft.finish_reason = item.usage, item.reason
                    draft.degraded = (*draft.degraded, *item.degraded)
                    break
                passed(len(item))
                said: list[str] = []
                for delta in item:
                    # Postgres stores no NUL, and no reader misses it.
                    for text in decoder.feed(delta.replace("\0", "")):
                        said += split(text)
                if said:
                    if not pieces:
                        stopwatch.mark("first_token")
                    pieces += said
                    yield said
        if last := [piece for text in decoder.flush() for piece in split(text)]:
            pieces += last
            yield last


def _prompt(draft: Draft, nonce: str) -> Prompt:
    plan = draft.plan
    question = plan.question.message
    with draft.stopwatch.stage("prompt"):
        messages = build_messages(
            plan.agent, question, draft.passages, plan.history, plan.language, nonce
        )
    return Prompt(
        messages=messages,
        question=draft.asked(),
        passages=draft.passages,
        language=plan.language,
        complexity=plan.complexity,
        max_tokens=plan.max_tokens,
        temperature=plan.agent.temperature,
    )


def split(text: str) -> Sequence[str]:
    """The text in pieces of at most MAX_EVENT_CHARS, so that no event outgrows its frame."""
    if len(text) <= MAX_EVENT_CHARS:
        return (text,) if text else ()
    return [text[at : at + MAX_EVENT_CHARS] for at in range(0, len(text), MAX_EVENT_CHARS)]
