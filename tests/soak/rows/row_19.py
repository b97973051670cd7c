"""Addresses that are changed, master keys that are rotated, rows that are swapped: every key that
an agent has arrives where it was entered for, or nowhere."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.soak.deployment import Deployment, deployment
from tests.soak.own_keys.agents import Office
from tests.soak.own_keys.ears import MARK, Ear, ear
from tests.soak.own_keys.moving import WAYS, move
from tests.soak.own_keys.rotating import Masters, rotate
from tests.soak.own_keys.secrets import plant
from tests.soak.row import Row, Stage, at_least, at_most

OPEN = {"ALLOW_PRIVATE_HOSTS": "127.0.0.1", "CITESTREAM_LOG_LEVEL": "debug"}
SWAP = """
UPDATE agents a SET api_key_sealed = b.api_key_sealed
  FROM agents b
 WHERE (a.id, b.id) IN (($1, $2), ($2, $1))
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many addresses are changed, by how many at a time; how many agents' keys are rotated how
    often; how many rows are swapped."""

    moves: int = 600
    clients: int = 6
    agents: int = 200
    rotations: int = 9
    swapped: int = 100


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full, share = Scale(), stage.seconds / ROW.seconds
    scale = Scale(
        moves=max(len(WAYS), round(full.moves * share)),
        agents=max(12, round(full.agents * share)),
        rotations=max(3, round(full.rotations * share)),
        swapped=max(6, round(full.swapped * share)),
    )
    async with deployment(stage, replicas=0, **OPEN) as running:
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """On two replicas, of which one has either master key first."""
    masters, counts = Masters.made(), Counter[str]()
    for new_first in (False, True):
        await running.start_replica(AGENT_KMS_KEY=masters.both(new_first=new_first), **OPEN)
    office = Office(running, stage.chance, counts, stage)
    async with AsyncExitStack() as stack:
        canary = await stack.enter_async_context(ear())
        homes = [await stack.enter_async_context(ear()) for _ in range(scale.clients)]
        await move(office, homes, canary, scale.moves)
        stage.say(f"{counts['addresses changed']} addresses changed")
        yield "requests to a canary", len(canary.heard)
        yield "keys at a canary", len(canary.planted())
        home = await stack.enter_async_context(ear())
        await rotate(office, home, masters, scale.agents, scale.clients, scale.rotations)
        stage.say(f"{counts['keys entered while they were rotated']} keys entered meanwhile")
        await _swap(office, home, scale.swapped)
    counts["keys in logs, metrics and answers"] = await _told(stage, office, masters)
    planted, told = await plant(stage, running, **OPEN)
    yield "secrets planted", planted
    yield "secrets told in logs, traces, metrics and answers", told
    for name in (*COUNTED, *WRONG):
        yield name, counts[name]


async def _swap(office: Office, home: Ear, pairs: int) -> None:
    """Two agents of the same tenant at the same address: nothing but the row tells them apart."""
    for _ in range(pairs):
        (one, _), (other, _) = await office.new(home), await office.new(home)
        await office.running.behind(SWAP, one, other)
        before = len(home.heard)
        for agent in (one, other):
            refused = await office.ask(agent, "Whose key is this?") == 502
            office.counts["swapped keys refused"] += refused
            if await office.state(agent) != "undecryptable":
                office.counts["swapped keys that look well"] += 1
        office.counts["swapped keys that were sent"] += len(home.heard) - before


async def _told(stage: Stage, office: Office, masters: Masters) -> int:
    """How often a key, or a master key, is in what observers read."""
    for url in office.running.urls:
        office.said.append((await office.running.http.get(f"{url}/metrics")).text)
    texts = [*office.said, *(each.read_text() for each in stage.folder.glob("*.log"))]
    secrets = (MARK, masters.former, masters.new)
    return sum(text.count(secret) for text in texts for secret in secrets)


WRONG = (
    "keys at a wrong address",
    "keys lost",
    "values left under the former key",
    "rotations that failed",
    "swapped keys that were sent",
    "swapped keys that look well",
    "keys in logs, metrics and answers",
    "requests that failed",
)
COUNTED = (
    "addresses changed",
    "keys entered while they were rotated",
    "rotations",
    "rotations killed",
    "encrypted columns",
    "keys compared",
    "swapped keys refused",
)
LIMITS = {
    "requests to a canary": at_least(1),
    "keys at a canary": at_most(0),
    "secrets planted": at_least(20),
    "secrets told in logs, traces, metrics and answers": at_most(0),
    "addresses changed": at_least(len(WAYS)),
    "keys entered while they were rotated": at_least(1),
    "encrypted columns": at_least(2),
    "keys compared": at_least(12),
    "swapped keys refused": at_least(12),
    **{each: at_most(0) for each in WRONG},
}
ROW = Row(
    19,
    "Keys go nowhere else",
    LIMITS,
    (
        "secrets planted",
        "secrets told in logs, traces, metrics and answers",
        "keys at a wrong address",
    ),
    measure,
)
