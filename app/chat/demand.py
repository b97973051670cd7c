"""What an answer may take of a model before anything of it is there, and what it has taken."""

from app.chat.model import Usage
from app.chat.plan import Draft, Plan
from app.chat.ports import Demand
from app.chat.prompt import RULES, estimate_tokens
from app.chat.rewrite import MAX_TOKENS
from app.errors import AppError, Interrupted


def demand(plan: Plan, passage_tokens: int) -> Demand:
    """The most that answering may take, where each passage has so many tokens. Pure."""
    said = [plan.agent.system_prompt, RULES, plan.question.message]
    said += [message.content for message in plan.history]
    completion = plan.max_tokens
    if plan.rewriting is not None and plan.rewriting.prompt is not None:
        said += [message.content for message in plan.rewriting.prompt.messages]
        completion += MAX_TOKENS
    request = plan.retrieval_request()
    passages = request.top_k * passage_tokens if request else 0
    return Demand(plan.provider.model, sum(map(estimate_tokens, said)) + passages, completion)


def paid(draft: Draft, error: AppError | None) -> Usage:
    """What a model was given and has said for this answer: nothing where it was found in a cache,
    where another run produced it, or where the model failed before its first token. Pure.

    Who stops it before that has sent the prompt nevertheless.
    """
    asked = draft.decoder is not None and (bool(draft.pieces) or isinstance(error, Interrupted))
    if asked and not draft.cached and draft.leader is None:
        return draft.counted_usage()
    return draft.rewritten.usage if draft.rewritten else Usage()
