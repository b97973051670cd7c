"""The shipped nginx in front of a replica: how much later first tokens come through it than without
it, while three streams wait for a model that says nothing for five minutes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.soak.asking import Heard, follow, stream
from tests.soak.deployment import Deployment, deployment
from tests.soak.faults.crowd import TEXT, reply
from tests.soak.faults.front import Front, front
from tests.soak.row import Row, Stage, at_least, at_most
from tests.support.waiting import until

SILENT_SECONDS = 300.0
HEARTBEAT_SECONDS = 15.0
PAIRS, ROUND = 750, 50
# Of both together; nginx lets one address ask fifty times a second.
PAUSE_SECONDS = 0.03
LATER_MS = 20
# The model's deadlines are the deployment's to set; they must be longer than its silence.
DEADLINES = ("FIRST_TOKEN_SECONDS", "BETWEEN_TOKENS_SECONDS", "TOTAL_SECONDS")
VARIABLES = {f"CITESTREAM_PROVIDER__{name}": str(3 * SILENT_SECONDS) for name in DEADLINES}


@dataclass(frozen=True, slots=True)
class Silent:
    """A stream of which nothing is heard for a while."""

    name: str
    heard: Heard

    @property
    def heartbeats(self) -> int:
        return sum(each.startswith(b":") for each in self.heard.raw.split(b"\n\n"))


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    pairs = max(50, round(PAIRS * stage.seconds / ROW.seconds))
    async with deployment(stage, through_proxies=False, **VARIABLES) as running:
        agent = await prepared(running)
        async with front(running) as door, asyncio.TaskGroup() as group:
            silences = await silent(running, door, agent, group, SILENT_SECONDS)
            stage.say(
                f"{len(silences)} streams are silent; {pairs} first tokens each way meanwhile"
            )
            async for figure in first_tokens(running, door, agent, pairs):
                yield figure
            stage.say("Waiting for the end of the silence")
            for name, value in judged(stage, await asyncio.gather(*silences)).items():
                yield name, value


async def prepared(running: Deployment) -> int:
    """An agent to ask."""
    running.provider.reply = reply
    return await running.agent(await running.portfolio(Atlas=TEXT))


# --- first tokens --------------------------------------------------------------------------------


async def first_tokens(
    running: Deployment, door: Front, agent: int, pairs: int
) -> AsyncIterator[tuple[str, float]]:
    """The same kind of question the one way and the other, in turn."""
    ways = (running.urls[0], door.url)
    seconds: dict[str, list[float]] = {url: [] for url in ways}
    failed = 0
    for number in range(pairs):
        for url in ways if number % 2 else reversed(ways):
            question = f"Who finished Atlas, as number {number} asks {ways.index(url)}?"
            heard = await stream(
                running.http, url, agent, question, headers=door.headers, cache="off"
            )
            if heard.ended == "done" and heard.first_token is not None:
                seconds[url].append(heard.first_token)
            else:
                failed += 1
            await asyncio.sleep(PAUSE_SECONDS)
    yield "first tokens each way", pairs
    yield "streams that failed", failed
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        direct, through = (_by_rounds(seconds[url], share) for url in ways)
        later = (after - before for before, after in zip(direct, through, strict=False))
        yield f"first token: ms at {name}, direct", median(direct)
        yield f"first token: ms at {name}, through nginx", median(through)
        yield f"first token: ms later at {name}", median(later)


def _by_rounds(seconds: Sequence[float], share: float) -> list[float]:
    """Milliseconds that this share of each round's take at most: what others do to a shared
    machine meanwhile is in both ways of the same round."""
    rounds = [sorted(seconds[at : at + ROUND]) for at in range(0, len(seconds), ROUND)]
    return [1000 * each[int(share * (len(each) - 1))] for each in rounds]


# --- silence -------------------------------------------------------------------------------------


async def silent(
    running: Deployment, door: Front, agent: int, group: asyncio.TaskGroup, seconds: float
) -> list[asyncio.Task[Silent]]:
    """A stream whose model is silent before its first word, one whose model is so behind it, and a
    second reader of that; begun, and the model as quick as before for whoever asks now."""
    provider, headers = running.provider, door.headers

    async def ask(name: str, words: int) -> Silent:
        message = f"Who finished Atlas, {name}, in {words} words?"
        asking = stream(running.http, door.url, agent, message, headers=headers, cache="off")
        return Silent(name, await asking)

    before = len(provider.calls)
    provider.first_token_seconds = seconds
    first = group.create_task(ask("silent at first", 3))
    await provider.arrived(before + 1)
    provider.first_token_seconds, provider.token_seconds = 0.0, seconds
    second = group.create_task(ask("silent in between", 2))
    await provider.arrived(before + 2)
    await until(lambda: provider.calls[before + 1].sent > 0)
    provider.token_seconds = 0.0

    [row] = await running.behind("SELECT id FROM runs ORDER BY id DESC LIMIT 1")

    async def join() -> Silent:
        following = follow(running.http, door.url, str(row["id"]), headers=headers)
        return Silent("read again", await following)

    return [first, second, group.create_task(join())]


def judged(stage: Stage, silences: list[Silent]) -> dict[str, float]:
    for each in silences:
        stage.note(
            f"{each.name}: {each.heard.ended} after {each.heard.seconds:.0f} s, "
            f"{each.heartbeats} heartbeats."
        )
    return {
        "silent streams": len(silences),
        "seconds of silence": min(each.heard.seconds for each in silences),
        "silent streams that were cut": sum(each.heard.ended != "done" for each in silences),
        "heartbeats of each, at least": min(each.heartbeats for each in silences),
    }


LIMITS = {
    "streams that failed": at_most(0),
    "first token: ms later at p50": at_most(LATER_MS),
    "first token: ms later at p95": at_most(LATER_MS),
    "silent streams": at_least(3),
    "seconds of silence": at_least(0.95 * SILENT_SECONDS),
    "silent streams that were cut": at_most(0),
    "heartbeats of each, at least": at_least(SILENT_SECONDS / HEARTBEAT_SECONDS - 2),
}
ROW = Row(
    24,
    "nginx does not hold tokens",
    LIMITS,
    ("first token: ms later at p50", "silent streams that were cut"),
    measure,
    seconds=60.0,
)
