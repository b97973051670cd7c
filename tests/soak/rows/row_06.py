"""The same question at once, at four workers; whoever asked first leaves, or his worker is killed.

Each scene asks questions that nobody has asked before, so that nothing is cached.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from tests.soak.deployment import Deployment, deployment
from tests.soak.provider import words_of
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.same_question.crowd import Outcome, asked, crowd, insist, one, turns, until

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
TOKEN_SECONDS = 0.02
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """How many ask at once, at how many workers; how often each scene is played. The first token
    takes `patient_seconds`, until everybody has come: 500 take some seconds at a small machine.
    `slow_token_seconds` is of an answer that is to be broken off in its middle."""

    crowd: int = 500
    workers: int = 4
    rushes: int = 3
    leavings: int = 24
    kills: int = 12
    followers: int = 32  # of each leader who leaves or is killed
    patient_seconds: float = 3.0
    slow_token_seconds: float = 0.1


class Scenes:
    """The scenes, and what was counted in them."""

    def __init__(self, stage: Stage, running: Deployment, agent: int, scale: Scale) -> None:
        self.stage = stage
        self.running = running
        self.agent = agent
        self.patient = scale.patient_seconds
        self.slow = scale.slow_token_seconds
        self.workers = list(range(len(running.replicas)))  # those that live
        self._count = len(self.workers)
        self.of: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.replaced: list[float] = []
        self.told: list[float] = []
        self._asked = 0

    @property
    def urls(self) -> list[str]:
        return [self.running.urls[number] for number in self.workers]

    def question(self) -> str:
        self._asked += 1
        return f"Who finished the Atlas project, as the file {self._asked} of Atlas has it?"

    def calls(self, question: str) -> int:
        return sum(each.question == question for each in self.running.provider.calls)

    def pace(self, first_token_seconds: float) -> None:
        self.running.provider.first_token_seconds = first_token_seconds
        self.running.provider.token_seconds = TOKEN_SECONDS

    # --- scenes ----------------------------------------------------------------------------------

    async def rush(self, count: int) -> None:
        """All ask at once; one call is made, and everybody has the answer and a turn of his own."""
        question = self.question()
        self.pace(self.patient)
        outcomes = await asyncio.gather(
            *crowd(self.running, self.urls, self.agent, question, count)
        )
        self._expect_answers("requests at once that failed", outcomes)
        self._most("calls for a question that all asked at once", self.calls(question))
        shared = sum(not each.cached for each in outcomes)
        self.of["answers shared while they were written"] += shared
        self.of["requests at once"] += count
        own = len({each.conversation_id for each in outcomes if each.error is None})
        stored = await turns(self.running, question)
        if stored != (count, count) or own != count:
            self._wrong("turns missing or too many", f"{stored} stored, {own} told, of {count}")

    async def leaving(self, count: int, tokens: int) -> None:
        """He who asked first leaves when so many tokens have gone out, in the middle of the rest;
        without any, the rest is just waiting for the first."""
        question, before = self.question(), len(self.running.provider.calls)
        self.pace(self.patient / 2)
        first, *_ = crowd(self.running, self.urls[-1:], self.agent, question, 1)
        await self.running.provider.arrived(before + 1)
        call = self.running.provider.calls[before]
        followers = crowd(self.running, self.urls, self.agent, question, count)
        await asked(self.running, question, count + 1)

        async def far_enough() -> bool:
            return call.sent >= tokens

        await until(far_enough)
        first.cancel()
        outcomes = await asyncio.gather(*followers)
        self._expect_answers("followers hurt by the leader's client who left", outcomes)
        self._most("calls for a question whose first client left", self.calls(question))
        self.of["leaders' clients who left"] += 1

    async def killing(self, count: int, tokens: int) -> None:
        """The worker that is producing is killed; the others' clients have been told that many
        tokens by then, or nothing. One more asks at that moment, and again where his answer breaks
        off."""
        await self._complete()
        question, before = self.question(), len(self.running.provider.calls)
        victim = self.stage.chance.choice(self.workers[1:])  # the first one keeps the house
        others = [each for each in self.workers if each != victim]
        urls = [self.running.urls[number] for number in others]
        self.pace(30.0 if tokens == 0 else self.patient)
        lost = one(self.running, self.running.urls[victim], self.agent, question, streamed=True)
        leader = asyncio.create_task(lost)
        await self.running.provider.arrived(before + 1)
        call = self.running.provider.calls[before]
        self.pace(0.2)
        self.running.provider.token_seconds = self.slow
        followers = crowd(self.running, urls, self.agent, question, count)
        await asked(self.running, question, count + 1)

        async def far_enough() -> bool:
            return call.sent >= tokens

        await until(far_enough)
        if call.finished:  # there is nothing left to break off
            self.of["answers that were complete before the kill"] += 1
            await asyncio.gather(leader, *followers)
            return
        self.workers.remove(victim)
        killed = time.monotonic()
        killing = asyncio.create_task(self.running.kill_replica(victim))
        late = insist(self.running, urls[0], self.agent, question)
        answered, *outcomes = await asyncio.gather(late, *followers)
        await asyncio.gather(leader, killing)
        self._judge_kill(question, killed, outcomes, answered, begun=tokens > 0)

    async def _complete(self) -> None:
        """One more worker for each that was killed."""
        while len(self.workers) < self._count:
            await self.running.start_replica()
            self.workers.append(len(self.running.replicas) - 1)

    def _judge_kill(
        self,
        question: str,
        killed: float,
        outcomes: Sequence[Outcome],
        late: Outcome,
        *,
        begun: bool,
    ) -> None:
        self.of["leaders killed"] += 1
        made = [each for each in self.running.provider.calls if each.question == question]
        self._most("calls for a question whose leader was killed", len(made))
        if len(made) > 1:
            self.replaced.append(made[1].arrived - killed)
        else:
            self._wrong("killed leaders that nobody replaced", question)
        self._expect_answers("requests behind a kill that failed", [late])
        if not begun:
            self._expect_answers("followers hurt before their first token", outcomes)
            return
        for each in outcomes:
            if each.error == "hung" or (each.error is None and each.answer != late.answer):
                self._wrong("followers hung, or told of half an answer that it is one", str(each))
            elif each.error is not None:
                self.of["followers told that their answer broke off"] += 1
                self.told.append(each.began + each.seconds - killed)

    # --- counting --------------------------------------------------------------------------------

    def _expect_answers(self, kind: str, outcomes: Sequence[Outcome]) -> None:
        """Everybody has the same whole answer: what the provider says is twenty words."""
        for each in outcomes:
            if each.error is not None or each.answer.count(" word") != 19:
                self._wrong(kind, f"{each.error} after {each.seconds:.2f} s, {each.answer[-40:]!r}")

    def _most(self, name: str, value: int) -> None:
        self.most[name] = max(self.most[name], value)

    def _wrong(self, kind: str, example: str) -> None:
        self.of[kind] += 1
        if self.of[kind] <= EXAMPLES:
            self.stage.note(f"{kind}: {example}")


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    # The proxies are in this process, which is busy enough with those who ask.
    workers = Scale().workers
    async with deployment(stage, replicas=workers, through_proxies=False) as running:
        async for figure in scenario(stage, running, _scaled(stage.seconds / ROW.seconds)):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The scenes, one after another, with a deployment that has so many workers."""
    running.provider.reply = words_of
    agent = await running.agent(await running.portfolio(Atlas=TEXT))
    scenes = Scenes(stage, running, agent, scale)
    for number in range(scale.rushes):
        await scenes.rush(scale.crowd)
        stage.say(f"Rush {number + 1} of {scale.rushes}")
    for number in range(scale.leavings):
        await scenes.leaving(scale.followers, tokens=(0, 1, 5, 15)[number % 4])
    stage.say(f"{scale.leavings} who asked first have left")
    for number in range(scale.kills):
        await scenes.killing(scale.followers, tokens=(0, 5, 0, 1)[number % 4])
        stage.say(f"Kill {number + 1} of {scale.kills}")
    for figure in _figures(scenes):
        yield figure


def _scaled(share: float) -> Scale:
    full = Scale()
    return Scale(
        rushes=max(1, round(full.rushes * share)),
        leavings=max(4, round(full.leavings * share)),
        kills=max(4, round(full.kills * share)),
    )


def _figures(scenes: Scenes) -> list[tuple[str, float]]:
    figures: list[tuple[str, float]] = [(each, scenes.of[each]) for each in COUNTED]
    figures += [(f"{each}, at most", scenes.most[each]) for each in MOST]
    if scenes.replaced:
        middle = quantiles(scenes.replaced * 2, n=2)[0]
        figures.append(("seconds until a killed leader was replaced, median", middle))
        figures.append((REPLACED, max(scenes.replaced)))
    if scenes.told:
        figures.append((TOLD, max(scenes.told)))
    return figures


REPLACED = "seconds until a killed leader was replaced, at most"
TOLD = "seconds until who had tokens of a killed leader was told, at most"
WRONG = (
    "requests at once that failed",
    "turns missing or too many",
    "followers hurt by the leader's client who left",
    "followers hurt before their first token",
    "followers hung, or told of half an answer that it is one",
    "requests behind a kill that failed",
    "killed leaders that nobody replaced",
)
COUNTED = (
    "requests at once",
    "answers shared while they were written",
    "leaders' clients who left",
    "leaders killed",
    "answers that were complete before the kill",
    "followers told that their answer broke off",
    *WRONG,
)
MOST = (
    "calls for a question that all asked at once",
    "calls for a question whose first client left",
    "calls for a question whose leader was killed",
)
LIMITS = {
    "answers shared while they were written": at_least(10),
    **{each: at_most(0) for each in WRONG},
    f"{MOST[0]}, at most": at_most(1),
    f"{MOST[1]}, at most": at_most(1),
    f"{MOST[2]}, at most": at_most(2),
    REPLACED: at_most(1.0),
}
ROW = Row(
    6,
    "The same question at once is paid once",
    LIMITS,
    (
        "calls for a question that all asked at once, at most",
        "seconds until a killed leader was replaced, at most",
    ),
    measure,
)
