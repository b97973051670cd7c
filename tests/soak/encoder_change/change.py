"""The operator's part: `citestream reencode`, killed and run again, there and back."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from app.embedded import Servers
from app.embedded.postgres import OWNER, SUPERUSER
from app.encoder.client import EncoderClient
from tests.soak.processes import complete, kill, launch, variables_of
from tests.soak.row import Stage
from tests.soak.starting import Process

BATCH = "16"  # small, so that there is a lot to be killed between
KILLS = (2, 5)  # in a round, unless it is done before
# How long a whole one takes, until that is known.
TYPICAL_SECONDS = 12.0

STATE = """
SELECT s.name AS encoder, n.name AS following, p.chunk_count AS chunks,
       (SELECT count(*) FROM rag_chunk c WHERE c.portfolio_id = p.id AND NOT EXISTS (
          SELECT FROM rag_embedding e WHERE e.portfolio_id = p.id AND e.chunk_id = c.id
             AND e.encoder_id = p.encoder_id)) AS without,
       (SELECT count(*) FROM rag_embedding e
         WHERE e.portfolio_id = p.id AND e.encoder_id <> p.encoder_id) AS old
  FROM portfolios p
  JOIN encoders s ON s.id = p.encoder_id
  LEFT JOIN encoders n ON n.id = p.next_encoder_id
 WHERE p.id = $1
"""


@dataclass(frozen=True, slots=True)
class State:
    """Of the portfolio at one moment. `old` are vectors of other encoders than the serving one,
    `kills` how often the change that led to it was interrupted."""

    encoder: str
    following: str | None
    chunks: int
    without: int
    old: int
    kills: int = 0


class Change:
    """Changes a portfolio's encoder. `settings` are the two encoders' variables, `encoders` their
    clients in the same order; the first one serves at the beginning."""

    def __init__(
        self,
        stage: Stage,
        servers: Servers,
        settings: Sequence[Mapping[str, str]],
        encoders: Sequence[EncoderClient],
    ) -> None:
        self.portfolio_id = 0
        self.settings = settings
        self.encoders = encoders
        self.states: list[State] = []
        self.stores = {
            "DATABASE_URL": servers.app_url,
            "DATABASE_OWNER_URL": servers.owner_url,
            "REDIS_URL": servers.redis_url,
        }
        # Row level security shows the service's own role no table as a whole.
        self._superuser_url = servers.owner_url.replace(OWNER, SUPERUSER, 1)
        self._stage = stage
        self._typical = TYPICAL_SECONDS
        self.killed: Counter[str] = Counter()

    async def go_on(self, seconds: float, summary: Callable[[], str]) -> None:
        """There and back until the time is over, and once at least."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or len(self.states) % 2 or not self.states:
            state = await self._round(1 - len(self.states) % 2)
            self.states.append(state)
            self._stage.say(
                f"{state.encoder} serves after {state.kills} kills, {state.without} chunks "
                f"without a vector, {state.old} old vectors; {summary()}"
            )

    async def _round(self, target: int) -> State:
        """To one of the encoders: killed some times, then completed, half the time by two at once.
        Vectors that are kept by their text are forgotten, so that there is something to encode."""
        await self._as_superuser("DELETE FROM vector_cache")
        variables = {**self.stores, **variables_of(*self._named(target))}
        arguments = ("reencode", "--batch", BATCH)
        kills = 0
        for _ in range(self._stage.chance.randint(*KILLS)):
            process = await launch(self._stage, "reencode", *arguments, **variables)
            if not await self._kill_at_random(process):
                break
            kills += 1
            self.killed[self._where(await self.state(), target)] += 1
        started = time.monotonic()
        at_once = self._stage.chance.randint(1, 2)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(complete(self._stage, "reencode", *arguments, **variables))
        self._typical = time.monotonic() - started
        state = await self.state(kills)
        if (state.encoder, state.following) != (self.encoders[target].name, None):
            raise RuntimeError(f"reencode said that it was done, and left {state}")
        return state

    async def _kill_at_random(self, process: Process) -> bool:
        """Whether it still ran at the moment that chance chose."""
        try:
            async with asyncio.timeout(self._typical * self._stage.chance.uniform(0.2, 1)):
                await process.wait()
            return False
        except TimeoutError:
            return True
        finally:
            await kill(process)

    def _named(self, target: int) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
        """The second one as the next beside the first; back with the first as the only one."""
        return self.settings[0], self.settings[1] if target else None

    def _where(self, state: State, target: int) -> str:
        name = self.encoders[target].name
        if state.encoder == name:
            return "after the switch" if state.old else "at the end"
        return "while it filled" if state.following == name else "before it began"

    async def state(self, kills: int = 0) -> State:
        """In one statement, so at one moment."""
        [row] = await self._as_superuser(STATE, self.portfolio_id)
        return State(**row, kills=kills)

    async def _as_superuser(self, statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._superuser_url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
            return rows
        finally:
            await connection.close()
