"""The one way of a question: decide, look up, retrieve, generate, store. Yields typed events.

It never sees a `stream` flag, a web framework or a vendor. What fails raises; the run's driver
(`app.chat.engine`) turns that into the terminal event and keeps the partial answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

from app.chat.cache import (
    CachedAnswer,
    pack_answer,
    pack_passages,
    unpack_answer,
    unpack_passages,
)
from app.chat.citations import CitationDecoder
from app.chat.complexity import analyze_query_complexity, cap, should_skip_rag
from app.chat.context import depends_on_conversation
from app.chat.events import Done, Event, Failed, Sources, Token
from app.chat.flights import Flights
from app.chat.language import recognise
from app.chat.model import (
    MAX_EVENT_CHARS,
    Agent,
    ChatMessage,
    Ids,
    QueryComplexity,
    Question,
    Scope,
)
from app.chat.normalise import check_message
from app.chat.plan import Draft, Plan
from app.chat.ports import (
    Begun,
    Cache,
    Conversations,
    Finish,
    IdempotencyKey,
    Prompt,
    Provider,
    Providers,
    Retrieval,
    Retriever,
    Turn,
)
from app.chat.prompt import build_messages, trim_history
from app.chat.runs import Run
from app.chat.semantic import SemanticAnswers
from app.chat.timing import Stopwatch
from app.errors import AppError, Interrupted, Unavailable

# A cache look-up takes 0.3 ms. Waiting this long for it before retrieval starts saves the encoder
# a query on every hit; a slow Redis then costs nothing more, because both run side by side.
CACHE_HEAD_START_SECONDS = 0.005
# Retrieval waits for the same vector and longer. Where it is done first nevertheless (its passages
# were cached, or its sources need no vector), an answer that may be there is worth this much.
SEMANTIC_PATIENCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided for every question.

    `addresses` are the providers' by name: at another one a model of the same name may be another.
    `installation` is the database's: ids and versions count from 1 in each that shares a Redis.
    """

    answer_cache: bool = True
    dynamic_context: bool = True
    answer_ttl_seconds: int = 3600
    passages_ttl_seconds: int = 1800
    history_tokens: int = 1500
    sources: Sequence[str] = ()
    addresses: Mapping[str, str | None] = field(default_factory=dict)
    installation: str = ""


class Pipeline:
    """Produces answers from ports; holds no state of its own between questions."""

    def __init__(
        self,
        *,
        conversations: Conversations,
        retriever: Retriever,
        cache: Cache,
        providers: Providers,
        policy: Policy,
        flights: Flights,
        clock: Callable[[], float],
        new_id: Callable[[], UUID],
        nonce: Callable[[], str],
        semantic: SemanticAnswers | None = None,
    ) -> None:
        self._conversations = conversations
        self._retriever = retriever
        self._cache = cache
        self._semantic = semantic
        self._providers = providers
        self._policy = policy
        self._flights = flights
        self._clock = clock
        self._new_id = new_id
        self._nonce = nonce

    async def prepare(self, scope: Scope, question: Question) -> Draft:
        """Check, load and decide; raises AppError before anything is produced."""
        stopwatch = Stopwatch(self._clock)
        check_message(question.message)
        with stopwatch.stage("load"):
            loaded = await self._conversations.load(scope, question)
        with stopwatch.stage("analyze"):
            provider = self._providers.for_agent(loaded.agent)
            complexity, top_k, max_tokens = self._limits(question.message, loaded.agent)
            language = question.language or await recognise(question.message)
            plan = Plan(
                installation=self._policy.installation,
                scope=scope,
                question=question,
                ids=self._ids(question),
                loaded=loaded,
                provider=provider,
                address=self._policy.addresses.get(provider.name),
                history=self._history(provider, loaded.history),
                language=language,
                complexity=complexity,
                top_k=top_k,
                max_tokens=max_tokens,
                switches=self._policy.sources,
                use_cache=self._policy.answer_cache and question.cache == "use",
                fill_cache=self._policy.answer_cache and question.cache != "off",
                follow_up=depends_on_conversation(question.message, language),
            )
        return Draft(plan, stopwatch)

    async def produce(self, draft: Draft) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer up to its last token; raises what stops it on the way."""
        yield draft.plan.start()
        answer = await self._find(draft)
        while answer is None and draft.leader is not None:
            async with aclosing(self._follow(draft, draft.leader)) as events:
                async for event in events:
                    yield event
            if draft.finish_reason is not None:
                return
            answer = await self._find(draft)
        if not draft.sourced:
            yield Sources(draft.passages)
        if answer is not None:
            for piece in answer.pieces:
                draft.pieces.append(piece)
                yield Token(piece)
        else:
            async with aclosing(self._generate(draft)) as tokens:
                async for token in tokens:
                    yield token

    async def _follow(self, draft: Draft, leader: Run) -> AsyncGenerator[Event, None]:
        """Yield what a run says that produces the same answer, and take it over. Where it is
        stopped before its first token, say no more: another is to produce it, from the same
        sources."""
        async with aclosing(leader.follow()) as events:
            async for _, event in events:
                if isinstance(event, Sources):
                    if not draft.sourced:
                        draft.passages, draft.sourced = event.passages, True
                        yield event
                elif isinstance(event, Token):
                    draft.stopwatch.mark("first_token")
                    draft.pieces.append(event.content)
                    yield event
                elif isinstance(event, Done):
                    draft.citations, draft.usage = event.citations, event.usage
                    draft.degraded, draft.finish_reason = event.degraded, event.finish_reason
                elif isinstance(event, Failed):
                    if event.code != Interrupted.code:
                        raise leader.error or AppError()
                    if draft.pieces:
                        raise Unavailable("This answer was shared with one that was stopped.")

    async def begin(self, draft: Draft, key: IdempotencyKey | None = None) -> Begun:
        """Store the question before its answer is there, so that it is known whatever happens."""
        begun = await self._conversations.begin_turn(draft.plan.scope, draft.turn("streaming"), key)
        if begun.fresh:
            draft.begun, draft.plan = True, replace(draft.plan, ids=begun.ids)
        return begun

    async def find_run(self, scope: Scope, run_id: UUID) -> Turn:
        """A run as it is stored; NotFound."""
        return await self._conversations.find_run(scope, run_id)

    def land(self, draft: Draft) -> None:
        """The answer has come to its end, whichever: who asks the same now begins anew."""
        self._flights.land(draft.plan.keys()[0], draft.plan.ids.run)

    async def complete(self, draft: Draft) -> Done:
        """Store and cache a whole answer. Not to be cancelled: its turn may be stored already
        while its reader is told that it is not."""
        await self._begun(draft)
        turn = draft.turn("complete")
        with draft.stopwatch.stage("persist"):
            await asyncio.gather(
                self._conversations.store_turn(draft.plan.scope, turn), self._remember(draft)
            )
        return draft.done()

    async def keep_partial(self, draft: Draft, status: str, error_code: str) -> None:
        """Store what there is of an answer that did not complete."""
        with suppress(AppError):  # storing it says again what is wrong
            await self._begun(draft)
        await self._conversations.store_turn(draft.plan.scope, draft.turn(status, error_code))

    def _limits(self, message: str, agent: Agent) -> tuple[QueryComplexity, int, int]:
        complexity, *_ = analyze_query_complexity(message)
        if self._policy.dynamic_context or should_skip_rag(complexity):
            return complexity, *cap(complexity, agent.top_k, agent.max_tokens)
        return complexity, agent.top_k, agent.max_tokens

    def _ids(self, question: Question) -> Ids:
        new = self._new_id
        return Ids(new(), question.conversation_id or new(), new(), new())

    def _history(self, provider: Provider, history: Sequence[ChatMessage]) -> list[ChatMessage]:
        return trim_history(history, self._policy.history_tokens) if provider.uses_history else []

    async def _find(self, draft: Draft) -> CachedAnswer | None:
        """The cached answer, or None with the draft's passages filled in."""
        tasks: list[asyncio.Task[CachedAnswer | None] | asyncio.Task[Retrieval]] = []
        exact = asyncio.create_task(self._look_up(draft))
        tasks.append(exact)
        try:
            await asyncio.wait({exact}, timeout=CACHE_HEAD_START_SECONDS)
            if exact.done() and (answer := exact.result()):
                return draft.take(answer)
            if not draft.begun and draft.beginning is None:
                draft.beginning = asyncio.create_task(self._begin_alone(draft))
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

    async def _begin_alone(self, draft: Draft) -> None:
        with draft.stopwatch.stage("begin"):
            await self.begin(draft)

    async def _begun(self, draft: Draft) -> None:
        """Wait until the beginning is stored, so that the end does not overtake it."""
        if draft.beginning is not None:
            await draft.beginning

    async def _look_up(self, draft: Draft) -> CachedAnswer | None:
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

    async def _generate(self, draft: Draft) -> AsyncGenerator[Token, None]:
        decoder = draft.decoder = CitationDecoder({each.number for each in draft.passages})
        with draft.stopwatch.stage("generate"):
            async with aclosing(draft.plan.provider.stream(self._prompt(draft))) as stream:
                async for item in stream:
                    if isinstance(item, Finish):
                        draft.usage, draft.finish_reason = item.usage, item.reason
                        draft.degraded = (*draft.degraded, *item.degraded)
                        break
                    # Postgres stores no NUL, and no reader misses it.
                    for text in decoder.feed(item.replace("\0", "")):
                        for piece in split(text):
                            draft.stopwatch.mark("first_token")
                            draft.pieces.append(piece)
                            yield Token(piece)
            for text in decoder.flush():
                for piece in split(text):
                    draft.pieces.append(piece)
                    yield Token(piece)

    def _prompt(self, draft: Draft) -> Prompt:
        plan = draft.plan
        question = plan.question.message
        with draft.stopwatch.stage("prompt"):
            messages = build_messages(
                plan.agent, question, draft.passages, plan.history, plan.language, self._nonce()
            )
        return Prompt(
            messages=messages,
            question=question,
            passages=draft.passages,
            language=plan.language,
            complexity=plan.complexity,
            max_tokens=plan.max_tokens,
            temperature=plan.agent.temperature,
        )

    async def _remember(self, draft: Draft) -> None:
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


def split(text: str) -> Sequence[str]:
    """The text in pieces of at most MAX_EVENT_CHARS, so that no event outgrows its frame."""
    if len(text) <= MAX_EVENT_CHARS:
        return (text,) if text else ()
    return [text[at : at + MAX_EVENT_CHARS] for at in range(0, len(text), MAX_EVENT_CHARS)]
