"""Documents that mean harm: to the page and its reader, and to whoever has to read them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import httpx2
import psutil

from tests.soak.deployment import Deployment, deployment
from tests.soak.poison.bombs import KINDS, Bomb, bombs
from tests.soak.poison.canary import canary
from tests.soak.poison.documents import Poisoned, poisoned
from tests.soak.poison.visitor import (
    ANSWERED,
    DIALOGS,
    ERRORS,
    FOREIGN,
    FORGED,
    INVENTED,
    LINKS,
    MARKUP,
    NAVIGATED,
    SCRIPTS,
    Visitor,
)
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.unhurried import UNHURRIED
from tests.support.browser import chromium

AT_ONCE = 2  # bombs, as many as a service reads at the same time
LOOK_SECONDS = 0.05
MB = 1024 * 1024
REFUSED = (413, 415, 422)


@dataclass(frozen=True, slots=True)
class Scale:
    documents: int = 200
    bombs: int = 200


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full, share = Scale(), min(1.0, stage.seconds / ROW.seconds)
    scale = Scale(round(full.documents * share) or 1, round(full.bombs * share) or 1)
    async with deployment(stage, replicas=1, **UNHURRIED) as running:
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The page first, then the bombs."""
    async for figure in shown(stage, running, scale.documents):
        yield figure
    kinds = islice(cycle(KINDS), scale.bombs)
    async for figure in thrown(stage, running, bombs(kinds, stage.chance)):
        yield figure


async def shown(stage: Stage, running: Deployment, count: int) -> AsyncIterator[tuple[str, float]]:
    """Every document is asked for twice: it is quoted, and it is repeated by a model that does
    what it is told."""
    running.provider.reply = obeying
    async with canary() as bird, chromium() as browser:
        documents = poisoned(count, bird.at)
        portfolio = await running.portfolio()
        await store(running, portfolio, documents)
        visitor = Visitor(browser, running.urls[0], stage.note)
        for provider in ("extractive", "openai"):
            agent = await running.agent(portfolio, provider=provider)
            await visitor.visit(agent, documents)
            stage.say(f"{len(documents)} documents shown by {provider}")
        yield "requests that another server was sent", len(bird.asked)
        yield UNSEEN, len(documents) - len(visitor.seen)
    for name in (ANSWERED, *HARM):
        yield name, visitor.counts[name]


async def store(running: Deployment, portfolio: int, documents: Sequence[Poisoned]) -> None:
    path = f"/api/portfolios/{portfolio}/documents?wait=true"
    for start in range(0, len(documents), 50):
        some = [each.body for each in documents[start : start + 50]]
        await running.json("POST", path, json={"documents": some})


def obeying(body: Mapping[str, Any]) -> Sequence[str]:
    """All that the model was given, as it stands there, and citations of what nobody gave it."""
    told = body["messages"][0]["content"]
    return [*(told[at : at + 7] for at in range(0, min(len(told), 6_000), 7)), " [1] [99] [7-9]"]


async def thrown(
    stage: Stage, running: Deployment, left: Iterator[Bomb]
) -> AsyncIterator[tuple[str, float]]:
    """Bombs, while somebody asks questions and somebody looks at the processes."""
    portfolio = await running.portfolio(Atlas="The Atlas dashboard was built by Ana Ruiz.")
    agent = await running.agent(portfolio, provider="extractive")
    target = await running.portfolio()
    seen: Counter[str] = Counter()
    worst: dict[str, float] = {"MB": 0.0, "seconds": 0.0, "question": 0.0}
    watchers = [
        asyncio.create_task(weigh(running, worst)),
        asyncio.create_task(ask(running, agent, seen, worst, stage)),
    ]

    async def throw() -> None:
        for bomb in left:
            began = time.monotonic()
            outcome = await became(running, target, bomb)
            worst["seconds"] = max(worst["seconds"], time.monotonic() - began)
            seen["bombs"] += 1
            if outcome is not None:
                seen[WENT_OFF] += 1
                stage.note(f"{bomb.kind}: {outcome}")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(throw())
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    yield "bombs", seen["bombs"]
    yield WENT_OFF, seen[WENT_OFF]
    yield "questions answered meanwhile", seen["answers"]
    yield "questions that failed meanwhile", seen["failures"]
    yield "MB of the largest process that reads", worst["MB"]
    yield "seconds of the longest bomb", worst["seconds"]
    yield "seconds of the longest question", worst["question"]


async def became(running: Deployment, portfolio: int, bomb: Bomb) -> str | None:
    """What was wrong about what became of a bomb; None where it was refused or has failed."""
    path = f"{running.urls[0]}/api/portfolios/{portfolio}/documents?wait=true"
    answer = await running.http.post(path, **bomb.request())
    said = answer.json()
    if answer.status_code in REFUSED:
        return None if said.get("code") and said.get("detail") else f"no word: {answer.text[:200]}"
    if answer.is_success and {each["status"] for each in said["items"]} == {"failed"}:
        return None if all(each["error"] for each in said["items"]) else "failed without a word"
    return f"{answer.status_code} {answer.text[:200]}"


async def ask(
    running: Deployment, agent: int, seen: Counter[str], worst: dict[str, float], stage: Stage
) -> None:
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        try:
            answer = await running.json(
                "POST",
                f"/api/agents/{agent}/chat",
                json={"message": f"Who built the Atlas dashboard? {number}", "cache": "off"},
            )
            seen["answers" if "Ana Ruiz" in answer["answer"] else "failures"] += 1
        except (RuntimeError, httpx2.HTTPError) as error:
            seen["failures"] += 1
            stage.note(f"question: {error}")
        worst["question"] = max(worst["question"], time.monotonic() - began)
        await asyncio.sleep(LOOK_SECONDS)


async def weigh(running: Deployment, worst: dict[str, float]) -> None:
    """The memory of the largest process that reads documents."""
    service = psutil.Process(running.replicas[0].process.pid)
    while True:
        with suppress(psutil.Error):
            for each in await asyncio.to_thread(service.children, recursive=True):
                with suppress(psutil.Error):
                    worst["MB"] = max(worst["MB"], each.memory_info().rss / MB)
        await asyncio.sleep(LOOK_SECONDS)


UNSEEN = "poisoned documents that nobody saw"
WENT_OFF = "bombs neither refused nor failed"
HARM = (FOREIGN, SCRIPTS, DIALOGS, NAVIGATED, MARKUP, LINKS, FORGED, INVENTED, ERRORS)
LIMITS = {
    "requests that another server was sent": at_most(0),
    ANSWERED: at_least(1),
    UNSEEN: at_most(0),
    **{each: at_most(0) for each in HARM},
    "bombs": at_least(1),
    WENT_OFF: at_most(0),
    "questions answered meanwhile": at_least(1),
    "questions that failed meanwhile": at_most(0),
    "MB of the largest process that reads": at_most(512),
    # Two are read at a time, and two are thrown: none waits for more than another one. What comes
    # beyond 30 s is its way there and the service's other work.
    "seconds of the longest bomb": at_most(60),
}
ROW = Row(
    21,
    "Documents are data",
    LIMITS,
    ("requests to foreign origins", "bombs neither refused nor failed"),
    measure,
    seconds=1500.0,
)
