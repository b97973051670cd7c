"""The one way of a question: decide, look up, retrieve, generate, store. Yields typed events.

It never sees a `stream` flag, a web framework or a vendor. What fails raises; the run's driver
(`app.chat.engine`) turns that into the terminal event and keeps the partial answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from uuid import UUID

from app.chat.complexity import analyze_query_complexity, cap, should_skip_rag
from app.chat.context import depends_on_conversation
from app.chat.demand import demand, paid
from app.chat.events import Done, Event, Failed, Said, Sources, Token
from app.chat.finding import Finder
from app.chat.flights import Leader, RemoteLeader
from app.chat.generation import generate
from app.chat.language import recognise
from app.chat.measuring import Measuring
from app.chat.model import Agent, ChatMessage, Claim, Ids, QueryComplexity, Question, Scope
from app.chat.normalise import check_message
from app.chat.plan import Draft, Plan
from app.chat.policy import Policy
from app.chat.ports import (
    Begun,
    Budget,
    Conversations,
    IdempotencyKey,
    Loaded,
    Provider,
    Providers,
    Reserve,
    Turn,
)
from app.chat.prompt import trim_history
from app.chat.rewrite import plan_rewriting
from app.chat.timing import Stopwatch
from app.chat.warming import Warmed
from app.errors import AppError, Interrupted, Unauthorized, Unavailable


class Pipeline:
    """Produces answers from ports; holds no state of its own between questions."""

    def __init__(
        self,
        *,
        conversations: Conversations,
        finder: Finder,
        unshared: Finder,
        providers: Providers,
        policy: Policy,
        stopwatch: Callable[[], Stopwatch],
        new_id: Callable[[], UUID],
        nonce: Callable[[], str],
        measuring: Measuring,
        budget: Budget | None = None,
    ) -> None:
        """`unshared` is a finder on the same caches whose flights nobody joins."""
        self._conversations = conversations
        self._finder = finder
        self._unshared = unshared
        self._providers = providers
        self._policy = policy
        self._stopwatch = stopwatch
        self._new_id = new_id
        self._nonce = nonce
        self._measuring = measuring
        self._budget = budget

    async def prepare(
        self, scope: Scope | Claim, question: Question, reserve: Reserve | None = None
    ) -> Draft:
        """Check, load, decide, and set aside what it may take: by `reserve` where that is given,
        else by the budget. Raises AppError before anything is produced. What comes of the draft is
        to be settled: `land`, `warm` and `give_up` do."""
        stopwatch = self._stopwatch()
        check_message(question.message)
        with stopwatch.stage("load"):
            loaded = await self._conversations.load(scope, question)
        if isinstance(scope, Claim):
            scope = _claimed(loaded)
        with stopwatch.stage("analyze"):
            provider = self._providers.for_agent(loaded.agent)
            complexity, top_k, max_tokens = self._limits(question.message, loaded.agent)
            language = question.language or await recognise(question.message)
            history = self._history(provider, loaded.history)
            follow_up = depends_on_conversation(question.message, language)
            rewriting = None
            if follow_up and top_k and self._policy.rewrite:
                rewriting = plan_rewriting(
                    question.message, loaded.history, history, language, complexity, self._nonce()
                )
            plan = Plan(
                installation=self._policy.installation,
                scope=scope,
                question=question,
                ids=self._ids(question),
                loaded=loaded,
                provider=provider,
                address=loaded.agent.base_url or self._policy.addresses.get(provider.name),
                history=history,
                language=language,
                complexity=complexity,
                top_k=top_k,
                max_tokens=max_tokens,
                switches=self._policy.sources,
                use_cache=self._policy.answer_cache and question.cache == "use",
                fill_cache=self._policy.answer_cache and question.cache != "off",
                follow_up=follow_up,
                rewriting=rewriting,
            )
        draft = Draft(plan, stopwatch)
        if reserve is None and self._budget is not None:
            reserve = self._budget.reserve
        if reserve is not None:
            draft.reserved = await reserve(scope, demand(plan, self._policy.passage_tokens))
        return draft

    async def produce(self, draft: Draft) -> AsyncGenerator[Sequence[Said], None]:
        """Yield the events of the answer up to its last token, those together that are there
        together; raises what stops it on the way."""
        yield (draft.plan.start(),)
        answer = await self._finder.find(draft, lambda: self._start_beginning(draft))
        while answer is None and draft.leader is not None:
            async with aclosing(self._follow(draft, draft.leader)) as events:
                async for event in events:
                    yield (event,)
            if draft.finish_reason is not None:
                return
            answer = await self._finder.find(draft, lambda: self._start_beginning(draft))
        sources = () if draft.sourced else (Sources(draft.passages),)
        if answer is not None:
            draft.pieces += answer.pieces
            yield (*sources, *answer.pieces)
        else:
            yield sources
            async with aclosing(self._generate(draft)) as generated:
                async for pieces in generated:
                    yield pieces

    async def warm(self, draft: Draft) -> Warmed:
        """Have the answer cached as if it had been asked for, and store nothing of it. It is no run
        that others could follow: one that asks the same meanwhile produces its own. Raises what
        stops it."""
        if not draft.plan.use_cache:
            self.give_up(draft)
            return Warmed.NOT_CACHEABLE
        try:
            if await self._unshared.find(draft, lambda: None) is not None:
                return Warmed.CACHED
            if draft.degraded:  # it would be paid for and not kept
                return Warmed.NOT_CACHEABLE
            async with aclosing(self._generate(draft)) as generated:
                async for _ in generated:
                    pass
            draft.cite()
            await self._unshared.remember(draft)
            return Warmed.PRODUCED if draft.cacheable() else Warmed.NOT_CACHEABLE
        finally:
            self._unshared.land(draft)
            self._settle(draft, None)

    async def _follow(self, draft: Draft, leader: Leader) -> AsyncGenerator[Event, None]:
        """Yield what a run says that produces the same answer, and take it over. Where it is
        stopped before its first token, say no more: another is to produce it, from the same
        sources."""
        async with aclosing(leader.follow()) as events:
            async for event in events:
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
                    draft.cached = event.cached
                elif isinstance(event, Failed):
                    if event.code != Interrupted.code:
                        raise leader.error or AppError()
                    if draft.pieces:
                        raise Unavailable("This answer was shared with one that was stopped.")
                    if isinstance(leader, RemoteLeader):
                        draft.passages = ()  # without their texts nobody can answer from them

    async def begin(self, draft: Draft, key: IdempotencyKey | None = None) -> Begun:
        """Store the question before its answer is there, so that it is known whatever happens."""
        begun = await self._conversations.begin_turn(draft.plan.scope, draft.turn("streaming"), key)
        if begun.fresh and draft.owned:
            draft.begun, draft.plan = True, replace(draft.plan, ids=begun.ids)
        return begun

    async def find_run(self, scope: Scope, run_id: UUID) -> Turn:
        """A run as it is stored; NotFound."""
        return await self._conversations.find_run(scope, run_id)

    async def streaming(
        self, scope: Scope, conversation_id: UUID | None, agent_id: int | None
    ) -> Sequence[UUID]:
        """The runs that are being produced there, as they are stored."""
        return await self._conversations.streaming(scope, conversation_id, agent_id)

    def land(self, draft: Draft, error: AppError | None) -> None:
        """The answer has come to its end, whichever: who asks the same now begins anew."""
        self._finder.land(draft)
        if draft.owned:
            self._measuring.over(draft, error)
        self._measuring.paid(draft)
        self._settle(draft, error)

    def give_up(self, draft: Draft) -> None:
        """Nothing is produced of it."""
        self._settle(draft, None)

    def _settle(self, draft: Draft, error: AppError | None) -> None:
        reserved, draft.reserved = draft.reserved, None
        if self._budget is None or (reserved is None and draft.cached):
            return
        plan = draft.plan
        self._budget.settle(plan.scope, plan.provider.model, paid(draft, error), reserved)

    async def hand_over(self, left: Draft, heir: UUID) -> None:
        """Whoever asked has cancelled an answer that others share: the heir's run goes on for
        them."""
        await self._finder.hand_over(left, heir)
        self._measuring.over(left, Interrupted())

    def _generate(self, draft: Draft) -> AsyncGenerator[Sequence[str], None]:
        return generate(draft, self._nonce(), self._measuring.gaps())

    async def complete(self, draft: Draft) -> Done:
        """Store and cache a whole answer. Not to be cancelled: its turn may be stored already
        while its reader is told that it is not."""
        if not draft.owned:
            draft.cite()
            await self._finder.remember(draft)
            return draft.done()
        await self._begun(draft)
        turn = draft.turn("complete")
        with draft.stopwatch.stage("persist"):
            storing = self._conversations.store_turn(draft.plan.scope, turn)
            if draft.cached:  # most answers, and two tasks are a tenth of what one of them costs
                await storing
            else:
                await asyncio.gather(storing, self._finder.remember(draft))
        return draft.done()

    async def keep_partial(self, draft: Draft, status: str, error_code: str) -> None:
        """Store what there is of an answer that did not complete."""
        if not draft.owned:
            return
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

    def _start_beginning(self, draft: Draft) -> None:
        """Store the question beside everything else that is done before the first token."""
        if draft.owned and not draft.begun and draft.beginning is None:
            draft.beginning = asyncio.create_task(self._begin_alone(draft))

    async def _begin_alone(self, draft: Draft) -> None:
        with draft.stopwatch.stage("begin"):
            await self.begin(draft)

    async def _begun(self, draft: Draft) -> None:
        """Wait until the beginning is stored, so that the end does not overtake it."""
        if draft.beginning is not None:
            await draft.beginning
            draft.begun = True


def _claimed(loaded: Loaded) -> Scope:
    if loaded.scope is None:
        raise Unauthorized
    return loaded.scope
