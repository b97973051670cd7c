"""A process is killed at every moment of a turn, and the request is sent again to another one.

Between that process and Postgres stands a wire that reads along. So every statement of a turn is a
moment, on both of its sides: where it has not reached the server, and where it is committed and
the process does not know. Which statements there are is seen in turns that nobody interrupts.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.soak.asking import ask
from tests.soak.deployment import Deployment, deployment
from tests.soak.killed_turns.moments import AtEvent, Ear, Moment, moments
from tests.soak.killed_turns.turns import Turn, again, age, kill_at, send, stored
from tests.soak.killed_turns.wire import Point, Wire
from tests.soak.processes import Service
from tests.soak.provider import WORDS, words_of
from tests.soak.row import Row, Stage, at_least, at_most

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
TOKEN_SECONDS = 0.02
EXAMPLES = 5
WARMING = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """`share` of all moments, or those whose names begin with one of `only`, in its order.

    Each is met twice: its request is sent again at once to another worker, and late, when its run
    has to be marked, to a worker that was started later. `aged` makes the dead look so at once, and
    leaves out the late ones.
    """

    share: float = 1.0
    only: Sequence[str] = ()
    aged: bool = False
    settled_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Victim:
    """A process that is going to be killed, and what stands between it and Postgres."""

    service: Service
    wire: Wire


class Killings:
    """All turns, and what was counted of them."""

    def __init__(
        self, stage: Stage, running: Deployment, stack: AsyncExitStack, agent: int, scale: Scale
    ) -> None:
        self.stage = stage
        self.running = running
        self.agent = agent
        self.scale = scale
        self.of: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.answered: list[float] = []
        self._stack = stack
        self._asked = 0

    # --- victims ---------------------------------------------------------------------------------

    async def raise_victim(self) -> Victim:
        """A worker with a wire of its own. It has answered a few questions at once already, so
        that it has made the connections that one takes: what it asks on new ones is no moment of
        a turn."""
        target = self.running.postgres.target
        wire = await self._stack.enter_async_context(Wire(str(target)))
        address = self.running.variables["DATABASE_URL"].replace(
            f":{self.running.postgres.port}/", f":{wire.port}/", 1
        )
        service = await self.running.start_replica(DATABASE_URL=address)
        warming = (
            ask(self.running.http, service.url, self.agent, self.question(), cache="off")
            for _ in range(WARMING)
        )
        await asyncio.gather(*warming)
        return Victim(service, wire)

    async def survey(self, victim: Victim) -> list[Point]:
        """Every point of turns that are left alone: a stream that begins a conversation, and a
        whole answer that goes on with it."""
        points: list[Point] = []
        for streamed in (True, False):
            turn = await self.turn(streamed=streamed, continued=not streamed)
            victim.wire.arm(None)
            await send(turn, victim.service.url, Ear(0))
            points += victim.wire.points()
        return list(dict.fromkeys(points))

    # --- turns -----------------------------------------------------------------------------------

    def question(self) -> str:
        self._asked += 1
        return f"Who finished the Atlas project, as the file {self._asked} of Atlas has it?"

    async def turn(self, *, streamed: bool, continued: bool) -> Turn:
        conversation = None
        if continued:
            url = self.running.urls[0]
            before = await ask(self.running.http, url, self.agent, self.question())
            conversation = before.raise_for_status().json()["conversation_id"]
        return Turn(self.agent, self.question(), streamed, conversation)

    async def kill(self, victim: Victim, moment: Moment, number: int) -> Turn | None:
        """A turn that is broken off at this moment; None where it never came to it. Streams and
        whole answers, new conversations and old ones, by the number."""
        streamed = isinstance(moment, AtEvent) or number % 2 == 0
        turn = await self.turn(streamed=streamed, continued=number % 4 >= 2)
        ear = Ear(len(self.running.provider.calls))
        moment.prepare(victim.wire)
        provider = self.running.provider
        there = await kill_at(
            turn, victim.service, ear, lambda: moment.reached(victim.wire, provider, ear)
        )
        await victim.wire.close()
        self.of["processes killed" if there else "moments that did not come"] += 1
        return turn if there else None

    async def judge(self, turn: Turn, moment: Moment, late: asyncio.Event | None) -> None:
        """Send it again, at once or late, and look what is stored in the end."""
        case = f"{moment}, {'stream' if turn.streamed else 'whole'}"
        if self.scale.aged:
            await age(self.running, turn.question)
        if late is not None:
            await self._settled(turn, case)
            await late.wait()
        began = time.monotonic()
        url = self.running.urls[0 if late is None else -1]
        try:
            answer, reasons = await again(turn, self.running, url)
        except TimeoutError:
            self._wrong("requests sent again that were never answered", case)
            return
        self.reasons.update(reasons)
        self.answered.append(time.monotonic() - began)
        if late is None:
            await self._settled(turn, case)
        await self._stored(turn, case, answer)

    async def _settled(self, turn: Turn, case: str) -> None:
        """Behind the time within which a run whose process is dead has to be marked."""
        since = time.monotonic() - turn.killed
        await asyncio.sleep(max(0.0, self.scale.settled_seconds - since))
        if "streaming" in (found := await stored(self.running, turn.question)).runs:
            self._wrong("runs left streaming", f"{case}: {found}")

    async def _stored(self, turn: Turn, case: str, answer: str | None) -> None:
        found = await stored(self.running, turn.question)
        if found.questions != 1 or found.runs != ["complete"]:
            self._wrong("requests that are not one message and one run", f"{case}: {found}")
        if len(found.answers) > 1:
            self._wrong("requests with more than one answer", f"{case}: {found}")
        elif found.answers != [answer] or found.statuses != ["complete"]:
            self._wrong("answers other than what is stored", f"{case}: {found}, told {answer!r}")
        if turn.heard is not None and turn.heard != answer:
            self._wrong("answers that changed", f"{case}: {turn.heard!r}, then {answer!r}")

    def _wrong(self, kind: str, example: str) -> None:
        self.of[kind] += 1
        if self.of[kind] <= EXAMPLES:
            self.stage.note(f"{kind}: {example}")


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, replicas=1) as running:
        scale = Scale(share=min(1.0, stage.seconds / ROW.seconds))
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """One process after another is killed; the first replica is not."""
    running.provider.reply = words_of
    running.provider.first_token_seconds = running.provider.token_seconds = TOKEN_SECONDS
    agent = await running.agent(await running.portfolio(Atlas=TEXT))
    async with AsyncExitStack() as stack:
        killings = Killings(stage, running, stack, agent, scale)
        victim = await killings.raise_victim()
        points = await killings.survey(victim)
        await _kill_all(killings, victim, _chosen(stage, scale, points))
    statements = list(dict.fromkeys(each.statement for each in points))
    stage.note(f"Statements: {'; '.join(statements)}.")
    yield "statements of a turn", len(statements)
    for name in ("processes killed", "moments that did not come", *WRONG):
        yield name, killings.of[name]
    yield "seconds until a request sent again was answered, at most", max(killings.answered)
    told = ", ".join(f"{name} {count}" for name, count in killings.reasons.most_common())
    stage.note(f"What requests were told before they were answered: {told or 'nothing'}.")


def _chosen(stage: Stage, scale: Scale, points: Sequence[Point]) -> list[Moment]:
    every = moments(points, WORDS)
    if scale.only:
        return [each for name in scale.only for each in every if str(each).startswith(name)]
    return sorted(
        stage.chance.sample(every, max(4, round(len(every) * scale.share))), key=every.index
    )


async def _kill_all(killings: Killings, first: Victim, chosen: Sequence[Moment]) -> None:
    """While one is judged the next one is killed, and the one behind that is started."""
    restarted = asyncio.Event()
    ways = (None,) if killings.scale.aged else (None, restarted)
    cases = [
        (moment, way, number + turned)
        for number, moment in enumerate(chosen)
        for turned, way in enumerate(ways)
    ]
    coming: asyncio.Task[Victim] | None = None
    async with asyncio.TaskGroup() as group:
        victim = first
        for number, (moment, way, variety) in enumerate(cases):
            if number + 1 < len(cases):
                coming = group.create_task(killings.raise_victim())
            if turn := await killings.kill(victim, moment, variety):
                group.create_task(killings.judge(turn, moment, way))
            if coming is not None:
                victim = await coming
            if number % 10 == 9:
                killings.stage.say(f"{number + 1} of {len(cases)} moments")
        if restarted in ways:
            await killings.running.start_replica()
        restarted.set()


WRONG = (
    "requests that are not one message and one run",
    "requests with more than one answer",
    "answers other than what is stored",
    "answers that changed",
    "runs left streaming",
    "requests sent again that were never answered",
)
LIMITS = {
    "processes killed": at_least(2),
    **{each: at_most(0) for each in WRONG},
}
ROW = Row(
    7,
    "A retried request is one message",
    LIMITS,
    ("processes killed", "requests that are not one message and one run"),
    measure,
    seconds=300.0,
)
