"""A provider whose connection is reset at any byte of its answer; what is made of what came."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from tests.soak.deployment import Deployment, deployment
from tests.soak.kept import Kept, kept, left_streaming
from tests.soak.provider import Call, words_of
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.visits import Visit

CUTS = 1000
SECONDS = 90.0
FEWEST_CUTS = 60
WHOLE = 5  # one in so many is asked for whole
CONTROLS = 3  # answers that are not cut, before and after
PATIENCE_SECONDS = 10.0
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
# All cuts come from one vendor, which a breaker would leave alone; and pauses are not the matter.
VARIABLES = {
    "CITESTREAM_PROVIDER__BREAKER_FAILURES": "1000",
    "CITESTREAM_PROVIDER__BACKOFF_SECONDS": "0.01",
}
ANSWERS = (b"agent:response:", b"rag:chunks:", b"semantic:")
REASON = b'"finish_reason": "stop"'


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what came of it: events of a stream, or the status of the sync path."""

    question: str
    cut: int | None
    status: int | None
    kinds: Sequence[str]
    text: str | None
    ended: bool

    @property
    def done(self) -> bool:
        """Whether anything says that this answer is complete."""
        return "done" in self.kinds or (self.text is None and self.status == 200)

    @property
    def failed(self) -> bool:
        """Whether it says, once and at its end, that this answer is not complete."""
        if self.text is None:
            return self.status is not None and self.status >= 500
        return self.ended and self.kinds.count("error") == 1 and self.kinds[-1] == "error"


class Asker:
    """Asks questions that nobody has asked before."""

    def __init__(self, running: Deployment, agent: int) -> None:
        self._running = running
        self._path = f"/api/agents/{agent}/chat"
        self._numbers = itertools.count()
        self._name = uuid4().hex[:6]

    async def ask(self, cut: int | None) -> Asked:
        """Ask with the provider cut after so many bytes."""
        self._running.provider.cut_after_bytes = cut
        number = next(self._numbers)
        question = f"Who finished Atlas, asks {self._name}-{number}?"
        whole = number % WHOLE == 0
        path = self._path if whole else f"{self._path}/stream"
        async with Visit(self._running.urls[0], "POST", path, {"message": question}) as visit:
            await visit.to_end()
        if whole or visit.status != 200:
            return Asked(question, cut, visit.status, (), None, visit.whole)
        kinds = [each["type"] for each in visit.events]
        return Asked(question, cut, visit.status, kinds, visit.text, visit.whole)


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, **VARIABLES) as running:
        cuts = max(FEWEST_CUTS, round(CUTS * stage.seconds / SECONDS))
        async for figure in scenario(stage, running, cuts):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, cuts: int
) -> AsyncIterator[tuple[str, float]]:
    """The figures of so many cuts; on a deployment with `VARIABLES` that nobody else asks."""
    provider = running.provider
    provider.reply = words_of
    provider.first_token_seconds = provider.token_seconds = 0.0
    asker = Asker(running, await running.agent(await running.portfolio(Atlas=TEXT)))
    before = await _cached(running)
    controls = [await asker.ask(None) for _ in range(CONTROLS)]
    written = await _cached(running)
    reason, length = await _lengths(running, provider.calls[-1])
    asked = []
    for number in range(cuts):
        asked.append(await asker.ask(stage.chance.randint(0, reason)))
        if (number + 1) % 250 == 0:
            stage.say(f"{number + 1} answers cut")
    writes = len(await _cached(running) - written)
    behind = [await asker.ask(each) for each in _behind(stage, reason, length, cuts)]
    controls += [await asker.ask(None) for _ in range(CONTROLS)]
    questions = [each.question for each in asked]
    streaming = await left_streaming(running, questions, PATIENCE_SECONDS)
    yield "answers cut", len(asked)
    yield "answers that were not cut and are complete", sum(each.done for each in controls)
    for figure in _telling(stage, asked):
        yield figure
    yield "cache entries of answers that were not cut", len(written - before)
    yield "cache entries of cut answers", writes
    for figure in _retries(stage, asked, provider.calls):
        yield figure
    for figure in _keeping(stage, asked, await kept(running)):
        yield figure
    yield "runs left streaming", streaming
    yield "answers cut behind their finish_reason", len(behind)
    yield "of which neither complete nor failed", sum(_torn(each) for each in behind)


def _behind(stage: Stage, reason: int, length: int, cuts: int) -> list[int]:
    """What the provider has called finished is: only its count or its farewell is missing."""
    return [stage.chance.randint(reason + 1, length - 1) for _ in range(cuts // 20)]


async def _lengths(running: Deployment, call: Call) -> tuple[int, int]:
    """Of an answer's body: up to the end of what says that it is finished, and in all."""
    url = f"{running.provider.url}/chat/completions"
    body = (await running.http.post(url, json=call.body)).content
    return body.index(b"\n", body.index(REASON)), len(body)


async def _cached(running: Deployment) -> set[bytes]:
    """The keys of answers and their passages; a question's vector is no answer's."""
    async with Redis.from_url(running.servers.redis_url) as redis:
        keys: list[Any] = [each async for each in redis.scan_iter(count=1000)]
    return {key for key in keys if key.startswith(ANSWERS)}


def _torn(asked: Asked) -> bool:
    """Whether it claims to be complete and is not, or claims nothing."""
    text = _text(asked.question)
    return not (asked.failed or (asked.done and asked.text in (None, text)))


def _text(question: str) -> str:
    return "".join(words_of({"messages": [{"content": question}]}))


def _telling(stage: Stage, asked: Sequence[Asked]) -> list[tuple[str, float]]:
    for each in asked:
        if each.done or not each.failed:
            stage.note(f"Cut after {each.cut} bytes: {each.status}, {Counter(each.kinds)}.")
    return [
        ("cut answers that say they are complete", sum(each.done for each in asked)),
        ("cut answers that do not say they failed", sum(not each.failed for each in asked)),
    ]


def _retries(
    stage: Stage, asked: Sequence[Asked], calls: Sequence[Call]
) -> list[tuple[str, float]]:
    """Calls beyond the first: behind a token, which is forbidden, and before one."""
    by_question: dict[str, list[Call]] = {}
    for call in calls:
        by_question.setdefault(call.question, []).append(call)
    early = late = 0
    for each in asked:
        made = by_question.get(each.question, [])
        told = next((n for n, call in enumerate(made) if call.sent), len(made) - 1)
        again = len(made) - 1 if each.text else len(made) - 1 - told
        late += again
        early += len(made) - 1 - again
        if again:
            stage.note(f"Cut after {each.cut} bytes: {len(made)} calls although a token was out.")
    return [
        ("calls again before the first token", early),
        ("calls again after the first token", late),
    ]


def _keeping(
    stage: Stage, asked: Sequence[Asked], stored: dict[str, Kept]
) -> list[tuple[str, float]]:
    other = unlike = uncounted = 0
    for each in asked:
        has = stored.get(each.question)
        if has is None or has.status != "error" or has.message_status not in ("error", None):
            other += 1
            stage.note(f"Cut after {each.cut} bytes: kept as {has}.")
            continue
        heard = has.answer if each.text is None else each.text
        unlike += not (has.answer == heard and _text(each.question).startswith(heard))
        uncounted += not has.usage_recorded
    return [
        ("cut answers kept as anything but failed", other),
        ("kept answers that are not what was heard", unlike),
        ("kept answers without usage", uncounted),
    ]


LIMITS = {
    "answers cut": at_least(FEWEST_CUTS),
    "answers that were not cut and are complete": at_least(2 * CONTROLS),
    "cut answers that say they are complete": at_most(0),
    "cut answers that do not say they failed": at_most(0),
    "cache entries of answers that were not cut": at_least(CONTROLS),
    "cache entries of cut answers": at_most(0),
    "calls again before the first token": at_least(1),
    "calls again after the first token": at_most(0),
    "cut answers kept as anything but failed": at_most(0),
    "kept answers that are not what was heard": at_most(0),
    "kept answers without usage": at_most(0),
    "runs left streaming": at_most(0),
    "of which neither complete nor failed": at_most(0),
}
ROW = Row(
    4,
    "A cut answer never looks finished",
    LIMITS,
    ("answers cut", "cut answers that say they are complete"),
    measure,
    seconds=SECONDS,
)
