"""Answers found again by what was asked: near enough by the encoder, and passed by the guards.

Everything but the message is the scope, a key of its own; nothing outside of it is ever compared.
Whatever fails here is a miss.
"""

from array import array
from collections.abc import Sequence

from app.chat.cache import CachedAnswer, unpack_answer
from app.chat.encoders import EncodersByName, encoder_named
from app.chat.guards import declined
from app.chat.model import Vector
from app.chat.normalise import normalise_message
from app.chat.plan import Plan
from app.chat.ports import Cache, SemanticCache, SimilarQuestion
from app.errors import AppError

# A longer message is hardly ever asked in other words, and encoders read only its beginning.
MAX_CHARS = 400


class SemanticAnswers:
    """The semantic cache of whole answers. `threshold` is the least cosine, where the agent has
    none of its own; at 1 or more it is off."""

    def __init__(
        self, similar: SemanticCache, cache: Cache, encoders: EncodersByName, threshold: float
    ) -> None:
        self._similar = similar
        self._cache = cache
        self._encoders = encoders
        self._threshold = threshold

    def concerns(self, plan: Plan) -> bool:
        """Whether the question may be answered by another one's answer, or the other way round."""
        message = plan.question.message
        return (
            self._least(plan) < 1
            and plan.semantic_scope() is not None
            and len(message) <= MAX_CHARS
        )

    async def vector(self, plan: Plan) -> Vector | None:
        """The question's, which its retrieval needs anyway; None where there is none to be had."""
        portfolio = plan.portfolio or plan.loaded.persona
        if portfolio is None:
            return None
        try:
            encoder = encoder_named(self._encoders, portfolio.encoder)
            vector = await encoder.embed_query(plan.question.message)
        except AppError:
            return None
        # It is kept for as long as the answer takes: 1.5 KB, where a list of floats takes 12.
        return array("f", vector)

    async def find(self, plan: Plan, vector: Vector) -> CachedAnswer | None:
        """The answer of the nearest question that asks the same."""
        scope = plan.semantic_scope()
        if scope is None:
            return None
        near = await self._similar.nearest(scope, vector, self._least(plan))
        message = normalise_message(plan.question.message)
        same = [each for each in near if not declined(each.question, message, plan.language)]
        return await self._first(same) if same else None

    async def remember(self, plan: Plan, vector: Vector, ttl_seconds: int) -> None:
        """Let the plan's answer, which is cached, be found by questions that ask the same."""
        scope = plan.semantic_scope()
        if scope is not None:
            message, [key, _] = normalise_message(plan.question.message), plan.keys()
            await self._similar.add(scope, vector, message, key, ttl_seconds, plan.tags())

    def _least(self, plan: Plan) -> float:
        own = plan.agent.semantic_threshold
        return self._threshold if own is None else own

    async def _first(self, questions: Sequence[SimilarQuestion]) -> CachedAnswer | None:
        """The best one that is still there: answers end with their own time to live."""
        values = await self._cache.get_many([each.answer_key for each in questions])
        answers = (unpack_answer(value) for value in values if value)
        return next((answer for answer in answers if answer is not None), None)
