"""Before anything is produced: is the answer cached, is somebody at it, or from what is it made?

All of them are asked side by side, and the first answer ends the rest.
"""

import asyncio
from collections.abc import Callable

from app.chat.cache import (
    CachedAnswer,
    pack_answer,
    pack_passages,
    unpack_answer,
    unpack_passages,
)
from app.chat.flights import Flights
from app.chat.plan import Draft
from app.chat.policy import Policy
from app.chat.ports import Cache, Retrieval, Retriever
from app.chat.semantic import SemanticAnswers

# A cache look-up takes 0.3 ms. Waiting this long for it before retrieval starts saves the encoder
# a query on every hit; a slow Redis then costs nothing more, because both run side by side.
CACHE_HEAD_START_SECONDS = 0.005
# Retrieval waits for the same vector and longer. Where it is done first nevertheless (its passages
# were cached, or its sources need no vector), an answer that may be there is worth this much.
SEMANTIC_PATIENCE_SECONDS = 0.05


class Finder:
    """Asks caches, flights and retrieval; fills the caches with what was produced."""

    def __init__(
        self,
        *,
        retriever: Retriever,
        cache: Cache,
        semantic: SemanticAnswers | None,
        flights: Flights,
        policy: Policy,
    ) -> None:
        self._retriever = retriever
        self._cache = cache
        self._semantic = semantic
        self._flights = flights
        self._policy = policy

    async def find(self, draft: Draft, missed: Callable[[], None]) -> CachedAnswer | None:
        """The cached answer; None with the draft's leader where another run is at it, else with
        its passages. `missed` is called once it is not to be had at once."""
        tasks: list[asyncio.Task[CachedAnswer | None] | asyncio.Task[Retrieval]] = []
        exact = asyncio.create_task(self._exact(draft))
        tasks.append(exact)
        try:
            await asyncio.wait({exact}, timeout=CACHE_HEAD_START_SECONDS)
            if exact.done() and (answer := exact.result()):
                return draft.take(answer)
            missed()
            if draft.plan.use_cache:
                plan = draft.plan
                draft.leader = self._flights.join(plan.scope, plan.keys()[0], plan.ids.run)
                if draft.leader is not None:
                    return None
            retrieval = asyncio.create_task(self._retrieve(draft))
            similar = asyncio.create_task(self._similar(draft))
            tasks += (retrieval, similar)
            if answer := await _first_found({exact, similar}, retrieval):
                return draft.take(answer)
            found = await retrieval
            draft.passages, draft.degraded = found.passages, found.degraded
            draft.stopwatch.add(found.timings_ms)
            await asyncio.wait({similar}, timeout=SEMANTIC_PATIENCE_SECONDS)
            answer = similar.result() if similar.done() else None
            return draft.take(answer) if answer else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def land(self, draft: Draft) -> None:
        """The answer has come to its end, whichever: who asks the same now begins anew."""
        self._flights.land(draft.plan.keys()[0], draft.plan.ids.run)

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
        answer_key, passages_key = plan.keys()
        policy, tags = self._policy, plan.tags()
        await self._cache.put(answer_key, pack_answer(answer), policy.answer_ttl_seconds, tags)
        if self._semantic is not None and draft.vector is not None:
            await self._semantic.remember(plan, draft.vector, policy.answer_ttl_seconds)
        if draft.fresh_passages:
            chunks = pack_passages(draft.passages)
            await self._cache.put(passages_key, chunks, policy.passages_ttl_seconds, tags)

    async def _exact(self, draft: Draft) -> CachedAnswer | None:
        """One round trip for the answer and its passages; takes over the passages it finds."""
        plan = draft.plan
        if not plan.use_cache:
            return None
        with draft.stopwatch.stage("cache"):
            values = await self._cache.get_many(plan.keys())
        answer = unpack_answer(values[0]) if values[0] else None
        if answer is None and values[1]:
            draft.passages = unpack_passages(values[1]) or ()
        return answer

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

    async def _retrieve(self, draft: Draft) -> Retrieval:
        request = draft.plan.retrieval_request()
        if request is None or draft.passages:
            return Retrieval(draft.passages)
        draft.fresh_passages = True
        with draft.stopwatch.stage("retrieve"):
            return await self._retriever.retrieve(draft.plan.scope, request)


async def _first_found(
    look_ups: set["asyncio.Task[CachedAnswer | None]"], retrieval: "asyncio.Task[Retrieval]"
) -> CachedAnswer | None:
    """What one of the look-ups has found before the retrieval was done."""
    while look_ups and not retrieval.done():
        await asyncio.wait({*look_ups, retrieval}, return_when=asyncio.FIRST_COMPLETED)
        done = {each for each in look_ups if each.done()}
        if found := next((each.result() for each in done if each.result()), None):
            return found
        look_ups = look_ups - done
    return None
