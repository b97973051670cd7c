"""The way of a question on fakes: what is decided, cached, stored and said, fault by fault."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from app.chat.events import Answer, Done, Event, Failed, Sources, Start, Token
from app.chat.model import ChatMessage, Question, Scope
from app.chat.ports import Finish, Retrieval, RetrievalRequest, Turn
from app.chat.run import Run
from app.errors import InvalidInput, NotFound, ProviderTimeout, ProviderTruncated, Unavailable
from tests.support.core import PORTFOLIO, SCOPE, Core, MemoryConversations, passage
from tests.support.waiting import until

QUESTION = "What React projects are there?"


async def events_of(core: Core, message: str = QUESTION, **options: Any) -> list[Event]:
    return [event async for event in core.engine().stream(message, **options)]


async def ask(core: Core, message: str = QUESTION, **options: Any) -> Answer:
    return await core.engine().ask(message, **options)


def steady(event: Event) -> Any:
    """The event without what may differ between a produced and a replayed answer."""
    if isinstance(event, Done):
        return replace(
            event,
            cached=False,
            timings_ms={},
            run_id=None,
            conversation_id=None,
            message_id=None,
        )
    return Start if isinstance(event, Start) else event


async def test_events_come_in_order_and_end_with_done() -> None:
    core = Core()
    events = await events_of(core)
    assert [type(event) for event in events] == [Start, Sources, Token, Token, Done]
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.top_k, done.max_tokens, done.complexity) == (8, 3000, "medium")
    assert [each.quote for each in done.citations] == ["The answer is here."]
    assert {"load", "analyze", "retrieve", "vector", "generate", "persist", "total"} <= set(
        done.timings_ms
    )
    assert done.usage.completion_tokens == 5


async def test_the_turn_is_stored_complete_before_done() -> None:
    core = Core()
    engine = core.engine()
    async with aclosing(engine.stream(QUESTION)) as events:
        async for event in events:
            if isinstance(event, Done):
                break
    [turn] = core.conversations.turns
    assert (turn.status, turn.answer) == ("complete", "The answer is here [1].")
    assert not turn.new_conversation  # it was made when the question was stored


async def test_a_second_time_is_cached_and_the_same_but_for_ids_and_timings() -> None:
    core = Core()
    first = await events_of(core)
    second = await events_of(core)
    assert isinstance(second[-1], Done) and second[-1].cached
    assert [steady(event) for event in second if not isinstance(event, Sources)] == [
        steady(event) for event in first if not isinstance(event, Sources)
    ]
    assert len(core.provider.prompts) == 1
    assert len(core.retriever.requests) == 1
    assert [turn.cached for turn in core.conversations.turns] == [False, True]
    assert core.conversations.turns[0].answer == core.conversations.turns[1].answer


async def test_an_answer_that_is_at_hand_leaves_with_the_responses_beginning() -> None:
    core = Core()
    produced = await ask(core)
    core.cache.near = core.cache.hang = True  # and nobody else is asked
    run = await core.engine().start(SCOPE, Question("default", QUESTION))
    async with aclosing(run.frames()) as frames:
        first = (await anext(frames)).split(b"\n\n")
    types = ("start", "sources", "token", "token")
    assert all(
        f'"type":"{name}"'.encode() in each for name, each in zip(types, first, strict=False)
    )
    answer = await run.answer()
    assert (answer.text, answer.done.cached) == (produced.text, True)
    assert "cache" in answer.done.timings_ms


@pytest.mark.parametrize(
    "change",
    [
        {"portfolio": replace(PORTFOLIO, version=2)},
        {"portfolio": replace(PORTFOLIO, cache_epoch=1)},
        {"portfolio": replace(PORTFOLIO, id=2)},
        {"portfolio": replace(PORTFOLIO, encoder="another")},
        {"tenant_epoch": 1},
        {"history": [ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello")]},
        {"agent": replace(Core().conversations.agent, version=2)},
        {"agent": replace(Core().conversations.agent, cache_epoch=1)},
    ],
    ids=str,
)
async def test_whatever_the_answer_depends_on_makes_another_key(change: dict[str, Any]) -> None:
    core = Core()
    await ask(core)
    for name, value in change.items():
        setattr(core.conversations, name, value)
    assert not (await ask(core)).done.cached


@pytest.mark.parametrize(
    "options", [{"filters": {"team": "web"}}, {"language": "es"}, {"cache": "off"}], ids=str
)
async def test_other_options_do_not_hit(options: dict[str, Any]) -> None:
    core = Core()
    await ask(core)
    assert not (await ask(core, **options)).done.cached


async def test_another_tenant_never_hits() -> None:
    core = Core()
    await ask(core)
    assert not (await ask(core, scope=replace(SCOPE, tenant_id=2))).done.cached


async def test_another_installation_on_the_same_redis_never_hits() -> None:
    core = Core()
    await ask(core)
    core.policy = replace(core.policy, installation="another")
    assert not (await ask(core)).done.cached


async def test_the_same_model_name_at_another_address_never_hits() -> None:
    core = Core()
    await ask(core)
    core.policy = replace(core.policy, addresses={core.provider.name: "http://another/v1"})
    assert not (await ask(core)).done.cached
    assert (await ask(core)).done.cached


async def test_refresh_answers_anew_and_replaces_the_entry() -> None:
    core = Core()
    await ask(core)
    core.provider.deltas = ("Better [1].",)
    assert not (await ask(core, cache="refresh")).done.cached
    again = await ask(core)
    assert again.done.cached
    assert again.text == "Better [1]."


async def test_a_provider_without_history_shares_answers_between_conversations() -> None:
    core = Core()
    core.provider.uses_history = False
    await ask(core)
    core.conversations.history = [ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello")]
    assert (await ask(core)).done.cached


async def test_a_hung_cache_costs_nothing() -> None:
    core = Core()
    core.cache.hang = True
    assert (await ask(core)).text == "The answer is here [1]."


async def test_who_shares_a_cached_answer_is_told_that_it_is_one() -> None:
    core = Core()
    engine = core.engine()
    await engine.ask(QUESTION)
    gate, never = asyncio.Event(), asyncio.Event()
    gates = iter((gate, never))  # the first one finds it late, the second one by himself never
    get_many, retrieve = core.cache.get_many, core.retriever.retrieve

    async def slow_cache(keys: Sequence[str]) -> Sequence[bytes | None]:
        await next(gates, never).wait()
        return await get_many(keys)

    async def slow_retriever(scope: Scope, request: RetrievalRequest) -> Retrieval:
        await never.wait()
        return await retrieve(scope, request)

    core.cache.get_many = slow_cache  # type: ignore[method-assign]
    core.retriever.retrieve = slow_retriever  # type: ignore[method-assign]
    sharing = []
    for _ in range(2):
        sharing.append(asyncio.create_task(engine.ask(QUESTION)))
        # It is stored as it takes its place, behind another or not.
        await until(lambda: len(core.conversations.began) == 1 + len(sharing))
    gate.set()
    first, second = await asyncio.gather(*sharing)
    assert first.text == second.text == "The answer is here [1]."
    assert (first.done.cached, second.done.cached) == (True, True)
    assert [turn.cached for turn in core.conversations.turns] == [False, True, True]
    assert len(core.provider.prompts) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda core: setattr(core.retriever, "degraded", ["vector"]),
        lambda core: setattr(core.provider, "finish", Finish("length")),
    ],
)
async def test_only_complete_undegraded_answers_are_cached(spoil: Any) -> None:
    core = Core()
    spoil(core)
    await ask(core)
    assert not core.cache.entries


async def test_the_switch_turns_the_cache_off() -> None:
    core = Core(policy=replace(Core().policy, answer_cache=False))
    await ask(core)
    assert not core.cache.entries


async def test_ttls_are_an_hour_and_half_an_hour() -> None:
    core = Core()
    await ask(core)
    assert {key.partition(":{")[0]: ttl for key, ttl in core.cache.ttls.items()} == {
        "agent:response": 3600,
        "rag:chunks": 1800,
    }


async def test_cached_passages_serve_another_agents_question() -> None:
    core = Core()
    await ask(core)
    core.conversations.agent = replace(core.conversations.agent, id=2, name="other")
    answer = await ask(core, agent="other")
    assert not answer.done.cached
    assert len(core.retriever.requests) == 1
    assert answer.done.citations[0].quote == "The answer is here."


async def test_the_level_caps_but_never_raises_the_agents_ceiling() -> None:
    core = Core()
    core.conversations.agent = replace(core.conversations.agent, top_k=5, max_tokens=1000)
    done = (await ask(core)).done
    assert (done.top_k, done.max_tokens) == (5, 1000)


async def test_without_dynamic_context_the_agents_own_limits_hold() -> None:
    core = Core(policy=replace(Core().policy, dynamic_context=False))
    done = (await ask(core)).done
    assert (done.top_k, done.max_tokens) == (15, 6000)


async def test_a_greeting_needs_no_retrieval() -> None:
    core = Core()
    done = (await ask(core, "hola")).done
    assert (done.top_k, done.complexity, done.language) == (0, "trivial", "es")
    assert not core.retriever.requests


async def test_an_agent_without_portfolio_answers_without_passages() -> None:
    core = Core()
    core.conversations.portfolio = None
    answer = await ask(core)
    assert not core.retriever.requests
    assert answer.text == "The answer is here."
    assert not answer.done.citations


@pytest.mark.parametrize("error", [ProviderTruncated(), ProviderTimeout()])
async def test_a_failure_mid_answer_is_an_error_kept_as_such_and_never_cached(error: Any) -> None:
    core = Core()
    core.provider.error = error
    events = await events_of(core)
    assert events[-1] == Failed(error.code, error.message, error.retryable, error.status)
    assert not any(isinstance(event, Done) for event in events)
    [turn] = core.conversations.turns
    assert (turn.status, turn.error_code) == ("error", error.code)
    assert turn.answer == "The answer is here [1]."
    assert not core.cache.entries
    with pytest.raises(type(error)):
        await ask(core)


async def test_leaving_closes_the_provider_and_keeps_the_partial_answer() -> None:
    core = Core()
    core.provider.gate = asyncio.Event()
    engine = core.engine()
    async with aclosing(engine.stream(QUESTION)) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    await engine.close()
    assert core.provider.closed == 1
    [turn] = core.conversations.turns
    assert (turn.status, turn.error_code) == ("interrupted", "interrupted")
    assert turn.answer.startswith("The answer")


async def test_a_cancelled_run_ends_with_one_error_for_those_who_still_read() -> None:
    core = Core()
    core.provider.gate = asyncio.Event()
    engine = core.engine()
    seen: list[Event] = []
    async for event in engine.stream(QUESTION):
        seen.append(event)
        if isinstance(event, Start):
            run = engine.runs.find(SCOPE, event.run_id)
            assert run is not None
            run.cancel()
    assert [type(event) for event in seen].count(Failed) == 1
    assert isinstance(seen[-1], Failed) and seen[-1].code == "interrupted"


async def test_an_answer_that_cannot_be_stored_is_not_done() -> None:
    core = Core()
    core.conversations.fail_storing = Unavailable()
    events = await events_of(core)
    assert isinstance(events[-1], Failed)


async def test_an_unexpected_failure_says_nothing_of_its_inside() -> None:
    core = Core()
    core.retriever.retrieve = None  # type: ignore[method-assign,assignment]
    last = (await events_of(core))[-1]
    assert isinstance(last, Failed)
    assert (last.code, last.status) == ("internal_error", 500)
    assert "NoneType" not in last.message


async def test_bad_questions_fail_before_anything_is_produced() -> None:
    core = Core()
    for message in ("", "  ", "x" * 8001, "a\0b", "\ud800"):
        with pytest.raises(InvalidInput):
            await ask(core, message)
    with pytest.raises(NotFound):
        await ask(core, agent=99)
    assert not core.conversations.turns


async def test_long_deltas_become_several_events() -> None:
    core = Core()
    core.provider.deltas = ("x" * 3000,)
    tokens = [event for event in await events_of(core) if isinstance(event, Token)]
    assert [len(token.content) for token in tokens] == [1300, 1300, 400]


async def test_ask_many_keeps_the_order_and_the_bound() -> None:
    core = Core()
    active = peak = 0
    load = core.conversations.load

    async def counted(*args: Any) -> Any:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await asyncio.sleep(0)
        active -= 1
        return await load(*args)

    core.conversations.load = counted  # type: ignore[method-assign]
    core.retriever.passages = [passage(1, "The answer is here.")]
    answers = await core.engine().ask_many([f"What is {n}?" for n in range(9)], max_concurrent=3)
    assert len(answers) == 9
    assert peak <= 3
    assert [turn.question for turn in core.conversations.turns] != []


async def test_ask_many_raises_the_first_failure() -> None:
    with pytest.raises(InvalidInput):
        await Core().engine().ask_many(["What is React?", ""])


class SlowConversations(MemoryConversations):
    """Stores as a database does: not at once, and the caller hears of it later than it is so."""

    async def store_turn(self, scope: Scope, turn: Turn) -> None:
        await asyncio.sleep(0)
        await super().store_turn(scope, turn)
        await asyncio.sleep(0)


@pytest.mark.parametrize("failure", [None, ProviderTruncated()], ids=["answered", "failed"])
async def test_whenever_it_is_cancelled_a_run_ends_once_and_is_stored_once(failure: Any) -> None:
    ends = set()
    for steps in range(40):
        core = Core(conversations=SlowConversations())
        core.provider.error = failure
        engine = core.engine()
        run = await engine.start(SCOPE, Question("default", QUESTION))
        readers = [asyncio.create_task(log_of(run)) for _ in range(2)]
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        run.cancel()
        async with asyncio.timeout(5):
            logs = await asyncio.gather(*readers)
            await run.stopped()
        assert logs[0] == logs[1]
        kinds = [type(event) for event in logs[0]]
        assert kinds.count(Done) + kinds.count(Failed) == 1
        [turn] = core.conversations.turns
        last = logs[0][-1]
        ends.add(last.code if isinstance(last, Failed) else "done")
        assert turn.error_code == (last.code if isinstance(last, Failed) else None)
        assert bool(core.cache.entries) == isinstance(last, Done)
        assert core.provider.closed == len(core.provider.prompts)
        await engine.close()
    assert ends == {"interrupted", failure.code if failure else "done"}


async def log_of(run: Run) -> list[Event]:
    return [event async for _, event in run.follow()]


async def test_a_reader_who_leaves_while_a_failure_is_stored_leaves_no_run_behind() -> None:
    core = Core()
    core.provider.error = ProviderTruncated()
    storing, stored = asyncio.Event(), asyncio.Event()

    async def store_turn(*_: Any) -> None:
        storing.set()
        await stored.wait()

    core.conversations.store_turn = store_turn  # type: ignore[method-assign]
    engine = core.engine()
    run = await engine.start(SCOPE, Question("default", QUESTION))
    async with aclosing(run.follow()) as events:
        await anext(events)
        await storing.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stored.set()
    async with asyncio.timeout(5):
        await run.stopped()
        assert isinstance((await log_of(run))[-1], Failed)


async def test_a_database_that_hangs_does_not_keep_the_end_from_a_reader() -> None:
    core = Core()
    core.provider.gate = asyncio.Event()
    stored = asyncio.Event()

    async def store_turn(*_: Any) -> None:
        await stored.wait()

    core.conversations.store_turn = store_turn  # type: ignore[method-assign]
    engine = core.engine()
    run = await engine.start(SCOPE, Question("default", QUESTION))
    run.cancel()
    async with asyncio.timeout(5):
        assert isinstance((await log_of(run))[-1], Failed)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        assert not closing.done()
        stored.set()
        await closing


async def test_after_closing_nothing_new_is_begun() -> None:
    core = Core()
    engine = core.engine()
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.ask(QUESTION)
    assert not core.provider.prompts


async def test_an_empty_answer_is_not_repeated() -> None:
    core = Core()
    core.provider.deltas = ()
    await ask(core)
    assert not core.cache.entries


async def test_a_nul_that_a_model_says_is_dropped_because_nothing_can_store_it() -> None:
    core = Core()
    core.provider.deltas = ("The\0 answer", "\0")
    assert (await ask(core)).text == "The answer"


async def test_ask_many_refuses_a_bound_that_lets_nothing_through() -> None:
    async with asyncio.timeout(5):
        with pytest.raises(InvalidInput):
            await Core().engine().ask_many([QUESTION], max_concurrent=0)
