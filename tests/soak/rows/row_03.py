"""Clients that leave at any moment of their answer, in one of four ways; what that costs."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Literal
from uuid import uuid4

from tests.soak.deployment import Deployment, deployment
from tests.soak.kept import Kept, kept, left_streaming
from tests.soak.provider import Call, words_of
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.visits import Visit

CUTS = 1000
SECONDS = 75.0
FEWEST_CUTS = 50
# An answer takes half a second, a third of that before its first token.
FIRST_TOKEN_SECONDS = 0.2
TOKEN_SECONDS = 0.02
ANSWER_SECONDS = FIRST_TOKEN_SECONDS + 19 * TOKEN_SECONDS
PATIENCE_SECONDS = 10.0
LATE_SECONDS = 0.1
EXAMPLES = 5
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."

# By closing the connection of a stream, by having it reset, by closing that of the sync path, or
# by asking for it from elsewhere.
Way = Literal["closed", "reset", "whole", "cancelled"]
WAYS: Sequence[Way] = ("closed", "reset", "whole", "cancelled")


@dataclass(frozen=True, slots=True)
class Scale:
    """How many answers are cut off, by how many clients at once."""

    cuts: int
    clients: int = 4


@dataclass(frozen=True, slots=True)
class Cut:
    """A question whose answer was left at a moment (monotonic), with what was heard until then."""

    question: str
    way: Way
    at: float
    heard: str
    begun: bool


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage) as running:
        scale = Scale(max(FEWEST_CUTS, round(CUTS * stage.seconds / SECONDS)))
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The figures of so many cuts; on a deployment that nobody else asks meanwhile."""
    provider = running.provider
    provider.reply, provider.cut_after_bytes = words_of, None
    provider.first_token_seconds, provider.token_seconds = FIRST_TOKEN_SECONDS, TOKEN_SECONDS
    agent = await running.agent(await running.portfolio(Atlas=TEXT))
    cuts = await _cut_all(stage, running, agent, scale)
    streaming = await left_streaming(running, [cut.question for cut in cuts], PATIENCE_SECONDS)
    calls = {call.question: call for call in provider.calls}
    stored = await kept(running)
    for figure in _closing(stage, cuts, calls):
        yield figure
    yield "provider calls open at the end", provider.open
    for figure in _keeping(stage, cuts, calls, stored):
        yield figure
    yield "runs left streaming", streaming


async def _cut_all(stage: Stage, running: Deployment, agent: int, scale: Scale) -> list[Cut]:
    """Ask until so many answers were cut; those that were whole before are none."""
    cuts: list[Cut] = []
    numbers, name = itertools.count(), uuid4().hex[:6]

    async def client() -> None:
        while len(cuts) < scale.cuts:
            number = next(numbers)
            question = f"Who finished Atlas, asks {name}-{number}?"
            seconds = stage.chance.uniform(0, ANSWER_SECONDS)
            way = WAYS[number % len(WAYS)]
            leaving = _cancel if way == "cancelled" else _leave
            if cut := await leaving(running.urls[0], agent, question, way, seconds):
                cuts.append(cut)
                if len(cuts) % 250 == 0:
                    stage.say(f"{len(cuts)} answers cut off")

    async with asyncio.TaskGroup() as group:
        for _ in range(scale.clients):
            group.create_task(client())
    return cuts


async def _leave(url: str, agent: int, question: str, way: Way, seconds: float) -> Cut | None:
    path = f"/api/agents/{agent}/chat" + ("" if way == "whole" else "/stream")
    async with Visit(url, "POST", path, {"message": question}) as visit:
        if await visit.for_seconds(seconds):
            return None
        visit.leave(abruptly=way == "reset")
    if visit.left is None or (visit.frames and visit.events[-1]["type"] == "done"):
        return None
    text = "" if way == "whole" else visit.text
    return Cut(question, way, visit.left, text, bool(way != "whole" and visit.frames))


async def _cancel(url: str, agent: int, question: str, way: Way, seconds: float) -> Cut | None:
    path = f"/api/agents/{agent}/chat/stream"
    async with Visit(url, "POST", path, {"message": question}) as visit:
        if not await visit.until(1):
            raise RuntimeError(f"No event of {question}: {visit.body!r}")
        run_id = visit.events[0]["run_id"]
        if await visit.for_seconds(seconds):
            return None
        at = time.monotonic()
        async with Visit(url, "POST", f"/api/runs/{run_id}/cancel") as other:
            await other.to_end()
        await visit.to_end()
    if visit.events[-1]["type"] == "done":
        return None
    return Cut(question, way, at, visit.text, True)


def _closing(stage: Stage, cuts: Sequence[Cut], calls: dict[str, Call]) -> list[tuple[str, float]]:
    """How soon the provider was left alone."""
    asked = [(cut, calls[cut.question]) for cut in cuts if cut.question in calls]
    going_on = [(cut, call) for cut, call in asked if not call.finished]
    closed = [(cut, call, call.closed_at - cut.at) for cut, call in going_on if call.closed_at]
    times = sorted(max(0.0, seconds) for _, _, seconds in closed)
    percentiles = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [0.0] * 99
    late = [each for each in closed if each[2] > LATE_SECONDS]
    for cut, call, seconds in sorted(late, key=lambda each: -each[2])[:EXAMPLES]:
        stage.note(
            f"{cut.way}: closed {1000 * seconds:.0f} ms later, after {call.sent} tokens; "
            f"asked {1000 * (call.arrived - cut.at):.0f} ms after the client had left."
        )
    ways = Counter(cut.way for cut in cuts)
    stage.note("Cut: " + ", ".join(f"{way} {ways[way]}" for way in WAYS) + ".")
    return [
        ("answers cut off", len(cuts)),
        ("of which before the provider was asked", len(cuts) - len(asked)),
        ("of which before its first token", sum(call.sent == 0 for _, call in asked)),
        ("of which after its last", len(asked) - len(going_on)),
        ("ms until the provider's call was closed, p50", 1000 * percentiles[49]),
        ("ms until the provider's call was closed, p99", 1000 * percentiles[98]),
        ("ms until the provider's call was closed, most", 1000 * max(times, default=0.0)),
        ("provider calls asked for after the cut", sum(c.arrived > cut.at for cut, c in asked)),
        ("provider calls that went on to the end", len(going_on) - len(closed)),
    ]


def _keeping(
    stage: Stage, cuts: Sequence[Cut], calls: dict[str, Call], stored: dict[str, Kept]
) -> list[tuple[str, float]]:
    """What is kept of them. An answer that was complete when its reader left may be whole."""
    lost = unmarked = wrong = uncounted = interrupted = 0
    for cut in cuts:
        has, call = stored.get(cut.question), calls.get(cut.question)
        if has is None:
            lost += cut.begun or call is not None
            continue
        interrupted += has.status == "interrupted"
        over = call is not None and call.finished
        if not (has.status == has.message_status == "interrupted" or over):
            unmarked += 1
            stage.note(f"{cut.way}: kept as {has.status}, message {has.message_status}.")
        text = "".join(words_of({"messages": [{"content": cut.question}]}))
        if not (text.startswith(has.answer) and has.answer.startswith(cut.heard)):
            wrong += 1
            stage.note(f"{cut.way}: heard {cut.heard!r}, kept {has.answer!r}.")
        uncounted += not has.usage_recorded
    return [
        ("answers kept as interrupted", interrupted),
        ("cut answers of which nothing is kept", lost),
        ("cut answers kept as something else", unmarked),
        ("kept answers that lack what was heard", wrong),
        ("kept answers without usage", uncounted),
    ]


LIMITS = {
    "answers cut off": at_least(FEWEST_CUTS),
    "of which before its first token": at_least(5),
    "ms until the provider's call was closed, p99": at_most(1000 * LATE_SECONDS),
    "provider calls that went on to the end": at_most(0),
    "provider calls open at the end": at_most(0),
    "answers kept as interrupted": at_least(FEWEST_CUTS // 2),
    "cut answers of which nothing is kept": at_most(0),
    "cut answers kept as something else": at_most(0),
    "kept answers that lack what was heard": at_most(0),
    "kept answers without usage": at_most(0),
    "runs left streaming": at_most(0),
}
ROW = Row(
    3,
    "Leaving stops the spending",
    LIMITS,
    ("answers cut off", "ms until the provider's call was closed, p99"),
    measure,
    seconds=SECONDS,
)
