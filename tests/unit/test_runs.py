"""A run's log: every reader sees every event once, in order, and leaving cancels after grace."""

import asyncio
import gc
import weakref
from contextlib import aclosing
from uuid import UUID

import pytest

from app.chat.events import Event, Failed, Said, Token
from app.chat.model import Scope
from app.chat.run import Run
from app.chat.runs import KEPT_FINISHED_RUNS, Runs
from app.errors import AppError, Interrupted, InvalidInput

ID = UUID(int=7)
SCOPE = Scope(tenant_id=1)
END = Failed("interrupted", "stopped", False, 409)


def encode(number: int, said: Said) -> bytes:
    """A token as its text, which is all that a run keeps of it."""
    return f"{number}:{said.content if isinstance(said, Token) else said}\n".encode()


def make_run(grace_seconds: float = 0.0) -> Run:
    return Run(ID, SCOPE, grace_seconds, encode)


async def frames(run: Run, after: int = 0) -> list[bytes]:
    return [each async for each in run.frames(after)]


async def read(run: Run, after: int = 0) -> list[tuple[int, Event]]:
    return [each async for each in run.follow(after)]


async def test_readers_before_and_after_the_end_see_the_same() -> None:
    run = make_run()
    early = asyncio.create_task(read(run))
    for event in (Token("a"), Token("b"), END):
        await asyncio.sleep(0)
        run.append(event)
    expected = [(1, Token("a")), (2, Token("b")), (3, END)]
    assert await early == expected
    assert await read(run) == expected
    assert await read(run, after=1) == expected[1:]
    assert await read(run, after=3) == []


async def test_frames_are_the_events_each_once_and_several_for_who_lags() -> None:
    run = make_run()
    early = asyncio.create_task(frames(run))
    for event in (Token("a"), Token("b")):
        run.append(event)
        await asyncio.sleep(0)
    run.append(Token("c"))
    run.append(END)
    each = [encode(number, event) for number, event in await read(run)]
    assert b"".join(await early) == b"".join(each)
    assert await frames(run) == [b"".join(each)]
    assert await frames(run, after=3) == each[3:]
    assert await frames(run, after=4) == []


async def test_a_number_that_was_never_given_is_an_error() -> None:
    run = make_run()
    run.append(Token("a"))
    assert await run.follows(0) and await run.follows(1)
    with pytest.raises(InvalidInput):
        await run.follows(2)
    run.append(END)
    assert await run.follows(1)
    assert not await run.follows(2)
    assert not await run.follows(9)


async def test_the_last_reader_leaving_cancels_the_producer() -> None:
    run = make_run()
    producer = asyncio.create_task(asyncio.Event().wait())
    run.started_by(producer)  # type: ignore[arg-type]
    run.append(Token("a"))
    async with aclosing(run.follow()) as events:
        await anext(events)
    await run.stopped()
    assert producer.cancelled()


async def test_within_its_grace_a_run_survives_until_a_reader_is_back() -> None:
    run = make_run(grace_seconds=60)
    producer = asyncio.create_task(asyncio.Event().wait())
    run.started_by(producer)  # type: ignore[arg-type]
    run.append(Token("a"))
    async with aclosing(run.follow()) as events:
        await anext(events)
    again = asyncio.create_task(read(run, after=1))
    await asyncio.sleep(0)
    assert not producer.cancelled()
    run.append(END)
    assert await again == [(2, END)]
    run.cancel()


async def test_a_run_cancelled_before_its_first_step_still_begins() -> None:
    begun = False

    async def produce() -> None:
        nonlocal begun
        begun = True
        await asyncio.Event().wait()

    run = make_run()
    producer = asyncio.create_task(produce())
    run.started_by(producer)
    run.cancel()
    await run.stopped()
    assert begun and producer.cancelled()


async def test_once_settled_a_run_is_not_cancelled_any_more() -> None:
    run = make_run()
    gate = asyncio.Event()
    producer = asyncio.create_task(gate.wait())
    run.started_by(producer)  # type: ignore[arg-type]
    run.cancel()
    run.settle()
    await asyncio.sleep(0)
    gate.set()
    await run.stopped()
    assert not producer.cancelled()


async def test_the_end_of_a_run_ends_its_grace_so_that_it_can_be_forgotten() -> None:
    run = make_run(grace_seconds=600)
    run.append(Token("a"))
    async with aclosing(run.follow()) as events:
        await anext(events)
    run.append(END)
    forgotten = weakref.ref(run)
    del run, events
    gc.collect()
    assert forgotten() is None


async def test_a_failed_run_raises_its_error_from_answer() -> None:
    run = make_run()
    run.error = Interrupted()
    run.append(END)
    with pytest.raises(Interrupted):
        await run.answer()


async def test_runs_are_their_tenants_own_and_the_oldest_are_forgotten() -> None:
    runs = Runs()
    first: UUID | None = None
    for number in range(KEPT_FINISHED_RUNS + 1):
        run = Run(UUID(int=number), SCOPE, 0, encode)
        first = first or run.id
        runs.add(run)
        run.append(END)
        runs.finish(run)
    latest = UUID(int=KEPT_FINISHED_RUNS)
    assert runs.find(SCOPE, latest) is not None
    assert runs.find(Scope(tenant_id=2), latest) is None
    assert runs.find(SCOPE, UUID(int=0)) is None


async def test_a_run_that_is_begun_again_takes_the_place_of_the_former() -> None:
    runs, former, again = Runs(), make_run(), make_run()
    producer = asyncio.create_task(asyncio.Event().wait())
    former.started_by(producer)  # type: ignore[arg-type]
    runs.add(former)
    runs.add(again)
    await former.stopped()
    assert producer.cancelled()
    former.append(END)
    runs.finish(former)
    assert runs.find(SCOPE, ID) is again
    assert runs.active == [ID]


def test_errors_default_message_is_their_docstring() -> None:
    assert AppError().message.startswith("Something went wrong")
