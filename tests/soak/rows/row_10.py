"""A process is told to end under 200 streams, and two behind nginx are restarted one by one, while
requests keep coming.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from tests.soak.asking import Heard, stream
from tests.soak.deployment import Deployment, deployment
from tests.soak.faults.crowd import TEXT, Ends, Pace, open_all, open_now, reply, until_over
from tests.soak.faults.front import Front, front
from tests.soak.faults.steady import Told, steadily, tell
from tests.soak.processes import Service
from tests.soak.row import Row, Stage, at_least, at_most

STREAMS = 200
DRAIN_SECONDS = 20
LATEST_SECONDS = 60.0
PAUSE_SECONDS = 0.05
# nginx lets one address ask fifty times a second.
VISITORS, VISITORS_PAUSE_SECONDS = 4, 0.15
READERS, READERS_PAUSE_SECONDS = 12, 0.5
# nginx leaves out for three seconds whoever failed; until it has the former one back, the next one
# is all that there is.
SETTLED_SECONDS = 4.0
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """The streams of a process that is told to end, by some of them before it has to; how many
    words the streams have that are read while replicas are restarted, and how often those are."""

    pace: Pace
    words: int
    rolls: int


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    variables = {"CITESTREAM_DRAIN_SECONDS": str(DRAIN_SECONDS)}
    pace = Pace(STREAMS, opening=4.0, first=2.0, last=1.5 * DRAIN_SECONDS)
    scale = Scale(pace, words=12, rolls=max(1, round(stage.seconds / 60)))
    async with deployment(stage, replicas=1, through_proxies=False, **variables) as running:
        async for figure in drained(stage, running, scale):
            yield figure
        running.replicas.clear()
        for _ in range(2):
            await running.start_replica()
        async for figure in rolled(stage, running, scale):
            yield figure


async def prepared(running: Deployment, pace: Pace) -> int:
    """An agent to ask."""
    running.provider.reply, running.provider.token_seconds = reply, pace.word
    return await running.agent(await running.portfolio(Atlas=TEXT))


# --- one process, told to end --------------------------------------------------------------------


async def drained(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """SIGTERM to the deployment's latest process; nobody else asks it meanwhile."""
    agent = await prepared(running, scale.pace)
    service = running.replicas[-1]

    async def ask(number: int) -> Told:
        message = {"message": f"Who finished Atlas, as visitor {number} asks?"}
        path = f"{service.url}/api/agents/{agent}/chat"
        return await tell(running.http, "", "POST", path, json=message)

    async with steadily(2, PAUSE_SECONDS, ask) as told:
        asked = await open_all(running, [service.url], agent, "the drained", scale.pace)
        opened = open_now(asked)
        stage.say(f"{opened} streams are open; their process gets SIGTERM")
        taken = await _terminated(service)
        hung = await until_over(asked, LATEST_SECONDS)
    ends = Ends()
    ends.count(stage, asked)
    yield "streams open at SIGTERM", opened
    yield "seconds until the process has ended", taken
    yield "its exit status", service.process.returncode or 0
    yield "of its streams: with the whole answer", ends.done
    yield "of its streams: told that they were interrupted", ends.told
    yield "of its streams: truncated, without a terminal event", ends.silent + ends.wrong + hung
    answered = Counter(each.status or each.lost for each in told)
    stage.note(f"Errors of its streams: {ends.by_code or 'none'}.")
    stage.note(f"Short questions meanwhile: {_listed(answered)}.")


async def _terminated(service: Service) -> float:
    """Tell it to end; how long that took."""
    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LATEST_SECONDS):
        await service.process.communicate()
    return time.monotonic() - began


# --- two, one after the other --------------------------------------------------------------------


async def rolled(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The deployment's two replicas behind nginx, restarted in turn at the addresses they have."""
    agent = await prepared(running, scale.pace)
    heard: list[Heard | None] = []
    async with front(running) as door:
        visits = _Visits(running, door, agent, scale.words, heard)
        async with (
            steadily(VISITORS, VISITORS_PAUSE_SECONDS, visits.short) as told,
            steadily(READERS, READERS_PAUSE_SECONDS, visits.long),
        ):
            for number in range(2 * scale.rolls):
                if number:
                    await asyncio.sleep(SETTLED_SECONDS)
                stage.say(f"Restart {number + 1} of {2 * scale.rolls}")
                await _restart(running)
    failed = [each for each in told if not each.good]
    for each in failed[:EXAMPLES]:
        stage.note(f"Failed: {each.what} {each.status} {each.lost} {each.body}")
    yield "replicas restarted", 2 * scale.rolls
    yield "short requests meanwhile", len(told)
    yield "short requests that failed", len(failed)
    yield "seconds of the slowest of them", max(each.over - each.sent for each in told)
    yield "streams meanwhile", len(heard)
    for name, value in _ends(stage, heard).items():
        yield name, value


@dataclass(frozen=True, slots=True)
class _Visits:
    running: Deployment
    door: Front
    agent: int
    words: int
    heard: list[Heard | None]

    async def short(self, number: int) -> Told:
        """Each fourth has another way: a look, a question, a cached one, one with a key."""
        path, key = f"{self.door.url}/api/agents/{self.agent}", {}
        if number % 4 == 0:
            return await tell(self.running.http, "look", "GET", path, headers=self.door.headers)
        message = f"Who finished Atlas, as visitor {number} asks?"
        if number % 4 == 1:
            message = "Who finished Atlas?"
        elif number % 4 == 2:
            key = {"Idempotency-Key": uuid4().hex}
        headers = {**self.door.headers, **key}
        body = {"message": message}
        return await tell(
            self.running.http, message, "POST", f"{path}/chat", headers=headers, json=body
        )

    async def long(self, number: int) -> Told:
        """A stream; what became of it is `heard`."""
        began = time.monotonic()
        question = f"Who finished Atlas, reader {number}, in {self.words} words?"
        one: Heard | None = None
        with suppress(httpx2.HTTPError):
            one = await stream(
                self.running.http, self.door.url, self.agent, question, headers=self.door.headers
            )
        self.heard.append(one)
        return Told(question, began, time.monotonic(), one.status if one else None)


async def _restart(running: Deployment) -> None:
    """Whoever has run for longest ends, and one more begins at the address that he had."""
    oldest = running.replicas.pop(0)
    await _terminated(oldest)
    await running.start_replica(PORT=str(urlsplit(oldest.url).port))


def _ends(stage: Stage, heard: Sequence[Heard | None]) -> dict[str, float]:
    silent = [each for each in heard if each is None or (each.status == 200 and not each.ended)]
    failed = [
        each for each in heard if each is not None and (each.status != 200 or each.ended == "error")
    ]
    for each in failed[:EXAMPLES]:
        stage.note(f"A stream that failed: {each.status} {each.raw[-300:]!r}")
    return {
        "streams that were told that they failed": len(failed),
        "streams without a terminal event": len(silent),
    }


def _listed(counted: Counter[int | str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items(), key=str))


LIMITS = {
    "streams open at SIGTERM": at_least(STREAMS),
    "seconds until the process has ended": at_most(DRAIN_SECONDS),
    "its exit status": at_most(0),
    "of its streams: with the whole answer": at_least(1),
    "of its streams: told that they were interrupted": at_least(1),
    "of its streams: truncated, without a terminal event": at_most(0),
    "short requests meanwhile": at_least(100),
    "short requests that failed": at_most(0),
    "streams meanwhile": at_least(20),
    "streams that were told that they failed": at_most(0),
    "streams without a terminal event": at_most(0),
}
ROW = Row(
    10,
    "Deploys are invisible",
    LIMITS,
    ("streams open at SIGTERM", "streams without a terminal event", "short requests that failed"),
    measure,
    seconds=60.0,
)
