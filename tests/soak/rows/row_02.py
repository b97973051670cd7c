"""Cancelled calls of shared connections, from within and over HTTP, through proxies that delay;
everything that is read is looked at."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.soak.cancelling import hammering, tenants, visiting
from tests.soak.cancelling.calls import calls
from tests.soak.cancelling.hammering import Hammer
from tests.soak.cancelling.visiting import Visitors
from tests.soak.deployment import Deployment, deployment
from tests.soak.row import Row, Stage, at_least, at_most
from tests.support.logged import logged_to

SECONDS = 120.0
CANCELS = 10_000
OVER_HTTP = 0.2  # of them
FEWEST = 200
TENANTS = 50
# Of each piece in each direction, for a moment each. The longest is more than Redis' deadline, so
# that some calls are cut off by that, too.
DELAYS = (0.001, 0.002, 0.005, 0.01, 0.02)
LONG_DELAY = 0.15
LONG_SHARE = 0.05
MOMENT_SECONDS = 0.2
TRIPS = 8  # of a call or a request, at the most: as long as it is worth waiting before leaving


@dataclass(frozen=True, slots=True)
class Scale:
    cancels: int
    tenants: int = TENANTS


class Delays:
    """What the proxies do now."""

    def __init__(self, running: Deployment, chance: random.Random) -> None:
        self._proxies = (running.postgres, running.redis)
        self._chance = chance

    def longest(self) -> float:
        """How long a call takes, about."""
        return TRIPS * max(each.delay_seconds for each in self._proxies)

    async def change(self) -> None:
        """Another delay every moment, until cancelled; none then."""
        try:
            while True:
                for proxy in self._proxies:
                    rare = self._chance.random() < LONG_SHARE
                    proxy.delay_seconds = LONG_DELAY if rare else self._chance.choice(DELAYS)
                await asyncio.sleep(MOMENT_SECONDS)
        finally:
            for proxy in self._proxies:
                proxy.delay_seconds = 0.0


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage) as running:
        scale = Scale(max(FEWEST, round(CANCELS * stage.seconds / SECONDS)))
        with logged_to(stage.folder / "stores.log"):
            async for figure in scenario(stage, running, scale):
                yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The figures of so many cancels; on a deployment that nobody else asks meanwhile."""
    running.provider.reply = tenants.reply
    running.provider.first_token_seconds = running.provider.token_seconds = 0.002
    there = await tenants.settle(running, scale.tenants)
    stage.say(f"{len(there)} tenants have settled")
    database, redis = running.variables["DATABASE_URL"], running.variables["REDIS_URL"]
    delays = Delays(running, stage.chance)
    async with calls(there, stage.chance, database, redis) as shared:
        await shared.prime()
        hammer = Hammer(shared, stage.chance, delays.longest, stage.note)
        visitors = Visitors(running.urls[0], there, stage.chance, delays.longest, stage.note)
        changing = asyncio.create_task(delays.change())
        try:
            await hammer.until(round(scale.cancels * (1 - OVER_HTTP)))
            stage.say(f"{hammer.of[hammering.CANCELLED]:,} calls of the stores cancelled")
            await visitors.until(round(scale.cancels * OVER_HTTP))
            stage.say(f"{visitors.of[visiting.LEFT]:,} requests left")
        finally:
            changing.cancel()
            await asyncio.wait({changing})
        after_calls, after_requests = await asyncio.gather(
            hammer.baseline(), _replica_baseline(running)
        )
        late = await shared.everything_belongs()
    left, cancelled = visitors.of[visiting.LEFT], hammer.of[hammering.CANCELLED]
    yield "tenants", len(there)
    yield "cancels", left + cancelled
    yield "of which requests left by their clients", left
    yield "of which calls of the stores cancelled", cancelled
    yield "calls whose values were looked at", hammer.of[hammering.READ]
    yield "requests answered whole", visitors.of[visiting.ANSWERED]
    yield "values of another key or tenant", hammer.of[hammering.MISMATCHES]
    yield "values of another key or tenant, afterwards", late
    yield "responses with another tenant's text", visitors.of[visiting.FOREIGN]
    yield "stored texts with another tenant's row", await tenants.misplaced(running, there)
    yield "calls that failed", hammer.of[hammering.FAILED]
    yield "requests that got no connection in time", visitors.of[visiting.REFUSED]
    yield "requests that failed", visitors.of[visiting.ERRORS]
    yield "seconds until the stores' pools were at their baseline", after_calls
    yield "seconds until the replica's pools were at theirs", after_requests


async def _replica_baseline(running: Deployment) -> float:
    """Seconds until the replica lends no connection and produces nothing."""
    began = time.monotonic()
    while time.monotonic() - began < 2 * hammering.BASELINE_SECONDS:
        told = await running.json("GET", "/api/admin/stats")
        lent = sum(pool["in_use"] for pool in told["pools"].values())
        if not (lent or told["runs"]["active"] or running.provider.open):
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - began


LIMITS = {
    "cancels": at_least(FEWEST),
    "of which requests left by their clients": at_least(FEWEST * OVER_HTTP),
    "calls whose values were looked at": at_least(FEWEST // 10),
    "requests answered whole": at_least(FEWEST // 50),
    "values of another key or tenant": at_most(0),
    "values of another key or tenant, afterwards": at_most(0),
    "responses with another tenant's text": at_most(0),
    "stored texts with another tenant's row": at_most(0),
    "requests that failed": at_most(0),
    "seconds until the stores' pools were at their baseline": at_most(5),
    "seconds until the replica's pools were at theirs": at_most(5),
}
ROW = Row(
    2,
    "A cancelled request never corrupts a shared connection",
    LIMITS,
    ("cancels", "values of another key or tenant"),
    measure,
    seconds=SECONDS,
)
