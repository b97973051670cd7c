"""Postgres is killed, by all of its processes, by its main one and by one of its workers, under
streams and short questions. What somebody was told is complete must be there afterwards.

Then `citestream run`, which starts a Postgres of its own, must be back without anybody's doing.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from tests.soak.deployment import Deployment, deployment
from tests.soak.faults.crowd import TEXT, Asked, Ends, Pace, open_all, open_now, reply, until_over
from tests.soak.faults.own_servers import back_by_itself
from tests.soak.faults.steady import Told, steadily, tell
from tests.soak.faults.stored import lost, of_requests, of_streams, streaming
from tests.soak.row import Row, Stage, at_least, at_most
from tests.support.waiting import until

STREAMS = 200
VISITORS = 4
PAUSE_SECONDS = 0.05
AWAY_SECONDS = (0.5, 2.0)  # until whoever watches over it starts it again
# A run of which nothing more is heard is given up after twenty seconds, looked for every five.
GIVEN_UP_SECONDS = 35.0
LATEST_SECONDS = 60.0
LOOK_SECONDS = 0.02
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE usename = 'citestream_app'"


@dataclass(frozen=True, slots=True)
class Kill:
    """What dies; `strike` returns when it has."""

    name: str
    strike: Callable[[Deployment], Awaitable[None]]
    restarts_itself: bool = False


class Tally:
    """What was counted over all rounds."""

    def __init__(self) -> None:
        self.ends = Ends()
        self.open: list[int] = []
        self.answered = self.refused = self.lost = self.hung = 0
        self.down: list[float] = []
        self.back: list[float] = []


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, replicas=2, through_proxies=False) as running:
        rounds = max(len(KILLS), round(stage.seconds / 20))
        # Some more, since the first of them end when the last one is asked.
        pace = Pace(round(1.1 * STREAMS), opening=4.0, first=0.4, last=6.0)
        async for figure in scenario(stage, running, pace, rounds):
            yield figure
        yield OWN, await back_by_itself(stage, running)


async def scenario(
    stage: Stage, running: Deployment, pace: Pace, rounds: int
) -> AsyncIterator[tuple[str, float]]:
    """On a deployment that nobody else asks meanwhile."""
    agent, tally = await prepared(running, pace), Tally()
    for number in range(rounds):
        await one_round(running, agent, pace, KILLS[number % len(KILLS)], tally, str(number))
    yield "kills of Postgres", rounds
    yield "streams open at a kill, at least", min(tally.open)
    for name, value in counted(tally).items():
        yield name, value
    stage.note(f"Errors that ended streams: {tally.ends.by_code or 'none'}.")
    stage.say("Waiting until runs of which nothing is known are given up")
    yield LEFT, await _left(running)


async def prepared(running: Deployment, pace: Pace) -> int:
    """An agent to ask."""
    running.provider.reply, running.provider.token_seconds = reply, pace.word
    return await running.agent(await running.portfolio(Atlas=TEXT))


async def one_round(
    running: Deployment, agent: int, pace: Pace, kill: Kill, tally: Tally, name: str
) -> None:
    """Open the streams, kill, start it again, and hear everybody to the end."""
    stage = running.stage

    async def ask(number: int) -> Told:
        url = running.urls[number % len(running.urls)]
        question = f"Who finished Atlas, as visitor {name}.{number} asks?"
        path = f"{url}/api/agents/{agent}/chat"
        return await tell(running.http, question, "POST", path, json={"message": question})

    async with steadily(VISITORS, PAUSE_SECONDS, ask) as told:
        asked = await open_all(running, running.urls, agent, f"round {name}", pace)
        await asyncio.sleep(stage.chance.uniform(0, pace.word))
        tally.open.append(open_now(asked))
        stage.say(f"{tally.open[-1]} streams are open; Postgres loses {kill.name}")
        killed = time.monotonic()
        await kill.strike(running)
        if not kill.restarts_itself:
            await asyncio.sleep(stage.chance.uniform(*AWAY_SECONDS))
            await running.start_postgres()
        up = await _accepts(running)
        tally.back.append(await _answered(running, agent, name) - up)
        tally.down.append(up - killed)
        tally.hung += await until_over(asked, LATEST_SECONDS)
    await _judge(running, asked, told, tally)


async def _judge(
    running: Deployment, asked: Sequence[Asked], told: Sequence[Told], tally: Tally
) -> None:
    tally.ends.count(running.stage, asked)
    tally.answered += sum(each.good for each in told)
    tally.refused += sum(not each.good for each in told)
    missing = await lost(running, [*of_streams(asked), *of_requests(told)])
    tally.lost += len(missing)
    for each in missing[:5]:
        running.stage.note(f"Acknowledged and lost: {each.question} {each.message_id}")


def counted(tally: Tally) -> dict[str, float]:
    ends = tally.ends
    return {
        "streams that ended with the whole answer": ends.done,
        "streams that were told that it failed": ends.told,
        "streams without a terminal event": ends.silent,
        "streams with `done` behind something else": ends.wrong,
        "streams that hung": tally.hung,
        "short questions answered": tally.answered,
        "short questions that were told it failed": tally.refused,
        "acknowledged messages": ends.done + tally.answered,
        "acknowledged messages lost": tally.lost,
        "seconds without Postgres, at most": max(tally.down),
        BACK: max(tally.back),
    }


async def _accepts(running: Deployment) -> float:
    """When it does again."""

    async def accepts() -> bool:
        try:
            await running.behind("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    await until(accepts, seconds=LATEST_SECONDS, pause=LOOK_SECONDS)
    return time.monotonic()


async def _answered(running: Deployment, agent: int, name: str) -> float:
    """When every replica has answered a question, and stored that, again."""

    async def one(number: int, url: str) -> None:
        path = f"{url}/api/agents/{agent}/chat"
        message = {"message": f"Who finished Atlas, after round {name}, replica {number}?"}

        async def good() -> bool:
            return (await tell(running.http, "", "POST", path, json=message)).good

        await until(good, seconds=LATEST_SECONDS, pause=LOOK_SECONDS)

    await asyncio.gather(*(one(*each) for each in enumerate(running.urls)))
    return time.monotonic()


async def _left(running: Deployment) -> int:
    """How many runs are still said to go on when all that were lost should be given up."""

    async def none() -> bool:
        return await streaming(running) == 0

    with suppress(TimeoutError):
        await until(none, seconds=GIVEN_UP_SECONDS, pause=1.0)
    return await streaming(running)


# --- kills ---------------------------------------------------------------------------------------


async def _machine(running: Deployment) -> None:
    running.kill_postgres()


async def _main(running: Deployment) -> None:
    running.kill_main_postgres()


async def _worker(running: Deployment) -> None:
    """The main process ends all of them then, and recovers as after a crash."""
    rows = await running.behind(BACKENDS)
    os.kill(running.stage.chance.choice(rows)["pid"], signal.SIGKILL)


KILLS = (
    Kill("all of its processes", _machine),
    Kill("its main process", _main),
    Kill("one of its workers", _worker, restarts_itself=True),
)


BACK = "seconds until every replica answers again, once Postgres accepts connections"
OWN = "seconds until `citestream run` answers again, its own Postgres killed"
LEFT = "runs left streaming"
LIMITS = {
    "streams open at a kill, at least": at_least(STREAMS),
    "streams without a terminal event": at_most(0),
    "streams with `done` behind something else": at_most(0),
    "streams that hung": at_most(0),
    "streams that ended with the whole answer": at_least(1),
    "streams that were told that it failed": at_least(1),
    "acknowledged messages": at_least(100),
    "acknowledged messages lost": at_most(0),
    BACK: at_most(5),
    LEFT: at_most(0),
    OWN: at_most(5),
}
ROW = Row(
    9,
    "Postgres may die",
    LIMITS,
    ("acknowledged messages", "acknowledged messages lost"),
    measure,
    seconds=60.0,
)
