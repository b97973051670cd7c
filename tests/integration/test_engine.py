"""The engine as a Python program uses it, on the servers of a running service's data folder."""

from collections.abc import AsyncIterator

import pytest

from app import Settings, open_engine
from app.chat.engine import Engine
from app.chat.events import Done, Event, Sources, Start, Token
from app.errors import NotFound
from tests.support.command import Running


@pytest.fixture(scope="module")
async def engine(running_service: Running) -> AsyncIterator[Engine]:
    async with open_engine(Settings(data=running_service.data)) as opened:
        yield opened


async def test_ask_gives_the_whole_answer(engine: Engine) -> None:
    answer = await engine.ask(agent="default", message="Who led the Atlas dashboard?")
    assert "Maren Solvik" in answer.text
    assert answer.done.citations[0].title == "Atlas Dashboard"


async def test_stream_gives_the_same_answer_as_events(engine: Engine) -> None:
    question = "What is the Pebble design system?"
    events: list[Event] = [event async for event in engine.stream(question, cache="off")]
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Start, Sources]
    assert (kinds[-1], set(kinds[2:-1])) == (Done, {Token})
    text = "".join(event.content for event in events if isinstance(event, Token))
    assert text == (await engine.ask(question, cache="off")).text


async def test_ask_many_answers_in_order(engine: Engine) -> None:
    questions = ["Who led the Atlas dashboard?", "hola", "Who led the Harbor checkout?"]
    answers = await engine.ask_many(questions, max_concurrent=2)
    assert [answer.done.complexity for answer in answers] == ["simple", "trivial", "simple"]


async def test_an_unknown_agent_is_an_error_of_ours(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.ask("What is Atlas?", agent="nobody")
