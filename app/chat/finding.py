"""Before anything is produced: is the answer cached, is somebody at it, or from what is it made?

All of them are asked side by side, and the first answer ends the rest.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import UUID

from app.chat.cache import (
    CachedAnswer,
    pack_answer,
    pack_passages,
    unpack_answer,
    unpack_passages,
)
from app.chat.flights import Flights, Leader
from app.chat.plan import Draft
from app.chat.policy import Policy
from app.chat.ports import (
    AnswerCache,
    Cache,
    ExpectedVector,
    QueryVectors,
    Retrieval,
    Retriever,
)
from app.chat.rewrite import DEGRADED, ask
from app.chat.semantic import SemanticAnswers

# A cache look-up takes 0.3 ms. Waiting this long for it before retrieval starts saves the encoder
# a query on every hit; a slow Redis then costs nothing more, because both run side by side.
CACHE_HEAD_START_SECONDS = 0.005
# Retrieval waits for the same vector and longer. Where it is done first nevertheless (its passages
# were cached, or its sources need no vector), an answer that may be there is worth this much.
SEMANTIC_PATIENCE_SECONDS = 0.05
# Who produces the same elsewhere is known within a millisecond. A slow Redis must not hold up an
# answer for longer than this, and a look that is missed costs a second production. In parts: while
# this process is too busy to hear the answer that has come, its timers do not come round either.
CLAIM_PATIENCE_SECONDS, CLAIM_PARTS = 0.2, 4

LookUps: TypeAlias = Sequence["asyncio.Task[Any]"]


class Finder:
    """Asks caches, flights and retrieval; fills the caches with what was produced."""

    def __init__(
        self,
        *,
        retriever: Retriever,
        vectors: QueryVectors,
        cache: AnswerCache,
        second_look: Cache,
        semantic: SemanticAnswers | None,
        flights: Flights,
        policy: Policy,
    ) -> None:
        """`second_look` is the cache for who has just asked it and counts as one look-up with
        that."""
        self._retriever = retriever
        self._vectors = vectors
        self._cache = cache
        self._second_look = second_look
        self._semantic = semantic
        self._flights = flights
        self._policy = policy

    async def find(self, draft: Draft, missed: Callable[[], None]) -> CachedAnswer | None:
        """The cached answer; None with the draft's leader where another run is at it, else with
        its passages. `missed` is called once it is not to be had at once."""
        draft.leader = None
        if answer := self._at_hand(draft):
            return draft.take(answer)
        exact = asyncio.create_task(self._exact(draft))
        tasks: list[asyncio.Task[Any]] = [exact]
        expected = None
        try:
            expected = self._expect(draft)
            await asyncio.wait({exact}, timeout=CACHE_HEAD_START_SECONDS)
            if exact.done() and (answer := exact.result()):
                return draft.take(answer)
            draft.leader = self._join(draft)
            # First of all: it takes longest of what the first token waits for.
            if expected is not None and draft.leader is None and not draft.passages:
                expected.encode()
            missed()
            if draft.leader is not None:
                return None
            claim = asyncio.create_task(self._claim(draft))
            retrieval = asyncio.create_task(self._retrieve(draft, (exact, claim)))
            similar = asyncio.create_task(self._similar(draft))
            tasks += (claim, retrieval, similar)
            found = await _first_found({exact, claim, similar}, retrieval)
            if found is None:
                retrieved = await retrieval
                draft.passages, draft.degraded = retrieved.passages, retrieved.degraded
                draft.stopwatch.add(retrieved.timings_ms)
                await asyncio.wait({similar}, timeout=SEMANTIC_PATIENCE_SECONDS)
                await _outwait(claim)
                found = _result(similar) or _result(claim)
            return _accepted(draft, found)
        finally:
            if expected is not None:
                expected.leave()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def land(self, draft: Draft) -> None:
        """The answer has come to its end, whichever: who asks the same now begins anew."""
        self._flights.land(draft.keys()[0], draft.plan.ids.run)

    async def hand_over(self, draft: Draft, heir: UUID) -> None:
        """Another run goes on for those who share the answer."""
        await self._flights.hand_over(draft.keys()[0], draft.plan.ids.run, heir)

    async def remember(self, draft: Draft) -> None:
        """Cache a complete answer and the passages it came from."""
        plan = draft.plan
        if not plan.fill_cache or not draft.cacheable():
            return
        answer = CachedAnswer(
            passages=draft.passages,
            pieces=draft.pieces,
            citations=draft.citations,
            usage=draft.counted_usage(),
            finish_reason=draft.finish_reason or "stop",
        )
        answer_key, passages_key = draft.keys()
        policy, tags = self._policy, plan.tags()
        await self._cache.put(answer_key, pack_answer(answer), policy.answer_ttl_seconds, tags)
        if self._semantic is not None and draft.vector is not None:
            await self._semantic.remember(plan, draft.vector, policy.answer_ttl_seconds)
        if draft.fresh_passages:
            chunks = pack_passages(draft.passages)
            await self._cache.put(passages_key, chunks, policy.passages_ttl_seconds, tags)

    def _at_hand(self, draft: Draft) -> CachedAnswer | None:
        """One that this process has: it is given without a pause, so that all of it leaves with
        the response's beginning."""
        if not draft.plan.use_cache:
            return None
        value = self._cache.at_hand(draft.keys()[0])
        if value is None:
            return None
        with draft.stopwatch.stage("cache"):
            return unpack_answer(value)

    def _expect(self, draft: Draft) -> ExpectedVector | None:
        """Have the vector's look-up go with the answer's: behind it, it would be waited for."""
        wanted = draft.plan.expected_vector()
        return None if wanted is None else self._vectors.expect(*wanted)

    def _join(self, draft: Draft) -> Leader | None:
        """Who produces this answer in this process."""
        plan = draft.plan
        if not plan.use_cache:
            return None
        return self._flights.join(plan.scope, draft.keys()[0], plan.ids.run)

    async def _exact(self, draft: Draft) -> CachedAnswer | None:
        """One round trip for the answer and its passages; takes over the passages it finds."""
        plan = draft.plan
        if not plan.use_cache:
            return None
        with draft.stopwatch.stage("cache"):
            values = await self._cache.get_many(draft.keys())
        answer = unpack_answer(values[0]) if values[0] else None
        if answer is None and values[1]:
            draft.passages = unpack_passages(values[1]) or ()
        return answer

    async def _claim(self, draft: Draft) -> CachedAnswer | Leader | None:
        """Who produces this answer elsewhere; or the answer, where whoever did so has just come to
        the end of it."""
        plan = draft.plan
        if not plan.use_cache:
            return None
        key = draft.keys()[0]
        if leader := await self._flights.claim(plan.scope, key, plan.ids.run):
            return leader
        [value] = await self._second_look.get_many([key])
        return unpack_answer(value) if value else None

    async def _similar(self, draft: Draft) -> CachedAnswer | None:
        """The answer to a question that asks the same in other words."""
        plan, semantic = draft.plan, self._semantic
        if semantic is None or not plan.fill_cache or not semantic.concerns(plan):
            return None
        with draft.stopwatch.stage("semantic"):
            draft.vector = await semantic.vector(plan)
            if draft.vector is None or not plan.use_cache:
                return None
            return await semantic.find(plan, draft.vector)

    async def _retrieve(self, draft: Draft, look_ups: LookUps) -> Retrieval:
        request = draft.plan.retrieval_request()
        if request is None or draft.passages:
            return Retrieval(draft.passages)
        draft.fresh_passages = True
        unwritten = await self._rewrite(draft, look_ups)
        with draft.stopwatch.stage("retrieve"):
            found = await self._retriever.retrieve(
                draft.plan.scope, replace(request, query=draft.asked())
            )
        return replace(found, degraded=(*unwritten, *found.degraded))

    async def _rewrite(self, draft: Draft, look_ups: LookUps) -> Sequence[str]:
        """Let a model make a follow-up a question of its own, where there is one; what failed of
        it. Then the question is the one that rules make of it. A model's call is paid for, so it
        waits until the look-ups have found nothing."""
        plan = draft.plan
        if plan.rewriting is None or plan.rewriting.prompt is None:
            return ()
        for look_up in look_ups:
            await _outwait(look_up)
        with draft.stopwatch.stage("rewrite"):
            draft.rewritten = await ask(
                plan.provider, plan.rewriting.prompt, self._policy.rewrite_seconds
            )
        return () if draft.rewritten.question else (DEGRADED,)


async def _outwait(claim: "asyncio.Task[Any]") -> None:
    for _ in range(CLAIM_PARTS):
        await asyncio.wait({claim}, timeout=CLAIM_PATIENCE_SECONDS / CLAIM_PARTS)
        if claim.done():
            return


def _result(task: "asyncio.Task[Any]") -> Any:
    return task.result() if task.done() else None


def _accepted(draft: Draft, found: CachedAnswer | Leader | None) -> CachedAnswer | None:
    if found is None or isinstance(found, CachedAnswer):
        return draft.take(found) if found else None
    draft.leader = found
    return None


async def _first_found(
    look_ups: "set[asyncio.Task[Any]]", retrieval: "asyncio.Task[Retrieval]"
) -> CachedAnswer | Leader | None:
    """What one of the look-ups has found before the retrieval was done."""
    while look_ups and not retrieval.done():
        await asyncio.wait({*look_ups, retrieval}, return_when=asyncio.FIRST_COMPLETED)
        done = {each for each in look_ups if each.done()}
        if found := next((each.result() for each in done if each.result()), None):
            return found  # type: ignore[no-any-return]
        look_ups = look_ups - done
    return None
