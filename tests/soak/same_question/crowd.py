"""Many who ask the same at once, each by the one way or the other, and what became of each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx2

from tests.soak.asking import ask, stream
from tests.soak.deployment import Deployment

HUNG_SECONDS = 45.0  # an answer takes three at most, and a run whose owner died is given up in five
POLL_SECONDS = 0.05
STORED = "SELECT count(*) FROM messages WHERE role = $2 AND content = $1"
ANSWERS = """
SELECT count(*) FROM messages a JOIN runs r ON r.message_id = a.id
  JOIN messages q ON q.id = r.question_id
 WHERE q.content = $1 AND a.status = 'complete'
"""


@dataclass(slots=True)
class Outcome:
    """What one of them heard. `answer` is whole where `error` is None; `error` is a code, a status,
    "cut" for a connection that ended in silence, or "hung". `began` is monotonic."""

    began: float
    seconds: float
    answer: str = ""
    error: str | None = None
    cached: bool = False
    conversation_id: str = ""


async def one(
    running: Deployment, url: str, agent: int, question: str, *, streamed: bool
) -> Outcome:
    """Ask, and wait for whatever comes."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(HUNG_SECONDS):
            way = _stream if streamed else _ask
            outcome = await way(running, url, agent, question)
    except TimeoutError:
        outcome = Outcome(0, 0, error="hung")
    except httpx2.HTTPError:
        outcome = Outcome(0, 0, error="cut")
    outcome.began, outcome.seconds = began, time.monotonic() - began
    return outcome


async def insist(running: Deployment, url: str, agent: int, question: str) -> Outcome:
    """Ask by the stream until there is an answer, at once again where there is none."""
    began = time.monotonic()
    while True:
        outcome = await one(running, url, agent, question, streamed=True)
        if outcome.error is None or time.monotonic() - began > HUNG_SECONDS:
            return outcome


async def _stream(running: Deployment, url: str, agent: int, question: str) -> Outcome:
    heard = await stream(running.http, url, agent, question)
    if heard.ended != "done":
        error = heard.events[-1]["code"] if heard.ended else "cut"
        return Outcome(0, 0, heard.text, error if heard.status == 200 else str(heard.status))
    done = heard.events[-1]
    return Outcome(0, 0, heard.text, None, done["cached"], done["conversation_id"])


async def _ask(running: Deployment, url: str, agent: int, question: str) -> Outcome:
    response = await ask(running.http, url, agent, question)
    told = response.json()
    if response.status_code != 200:
        return Outcome(0, 0, error=told.get("code", str(response.status_code)))
    return Outcome(0, 0, told["answer"], None, told["cached"], told["conversation_id"])


def crowd(
    running: Deployment, urls: Sequence[str], agent: int, question: str, count: int
) -> list[asyncio.Task[Outcome]]:
    """So many ask now, in turn at these workers, every other one by the stream."""
    tasks = []
    for number in range(count):
        url, streamed = urls[number % len(urls)], number // len(urls) % 2 == 0
        asking = one(running, url, agent, question, streamed=streamed)
        tasks.append(asyncio.create_task(asking))
    return tasks


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Look every so often, as nobody tells; RuntimeError where it never comes."""
    try:
        async with asyncio.timeout(HUNG_SECONDS):
            while not await reached():  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise RuntimeError("What was waited for never came.") from error


async def asked(running: Deployment, question: str, count: int) -> None:
    """Wait until so many have their question stored, which is when they join or begin."""

    async def stored() -> bool:
        [row] = await running.behind(STORED, question, "user")
        return int(row[0]) >= count

    await until(stored)


async def turns(running: Deployment, question: str) -> tuple[int, int]:
    """How many times the question is stored, and how many whole answers to it."""
    [questions] = await running.behind(STORED, question, "user")
    [answers] = await running.behind(ANSWERS, question)
    return int(questions[0]), int(answers[0])
