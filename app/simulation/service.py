"""The way of a question through the tiers, as the pipeline goes it, and what each of them takes.

nginx → API → Postgres (load) and Redis (look up) → a hit: the answer, its turn stored
                                                  → else: encoder → Postgres, sources side by
                                                    side → API → model → tokens → turn stored
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from random import Random

from app.simulation.costs import BATCH, Costs
from app.simulation.engine import Clock, Process, together
from app.simulation.stations import Batches, Cores, Slots, Station

# Of what a cached answer takes: 1.55 of 2.32 ms (`citestream bench cache`).
BEFORE_FIRST = 2 / 3
# Of Postgres' part of a cached answer: the rest stores the turn (0.74 and 1.05 ms of a question in
# the README).
LOAD = 0.4
SOURCES = 3  # that search at the same time: vectors, keywords, names
POOL = 10  # connections of an API process to Postgres, as shipped
PIECES = 8  # in which a stream's tokens are reckoned with: one by one would take minutes


@dataclass(frozen=True, slots=True)
class Model:
    """A language model's servers: how many answers each writes at once, when the first token comes
    and how many come a second then; 0: as fast as they are taken, as in the benches."""

    streams: int = 64
    first_token_seconds: float = 0.3
    tokens_per_second: float = 40.0

    def seconds(self, tokens: int) -> float:
        """Of a whole answer."""
        behind = (tokens - 1) / self.tokens_per_second if self.tokens_per_second else 0.0
        return self.first_token_seconds + behind


@dataclass(frozen=True, slots=True)
class Traffic:
    """`hit_rate` is the share of questions that the cache answers."""

    hit_rate: float = 0.5
    answer_tokens: int = 256
    model: Model = field(default_factory=Model)


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many there are of each tier: nginx's and Postgres' are cores, the API's processes."""

    nginx: int = 1
    api: int = 1
    redis: int = 1
    postgres: int = 1
    encoder: int = 1
    model: int = 1

    def of(self, tier: str) -> int:
        count: int = getattr(self, tier)
        return count

    def with_(self, **counts: int) -> "Fleet":
        return replace(self, **counts)


TIERS = tuple(each.name for each in fields(Fleet))


def token_cost(costs: Costs, model: Model) -> float:
    """Of an API process: tokens that come at once cost less than tokens that come one by one."""
    return costs["token_alone"] if model.tokens_per_second else costs["token_burst"]


class Service:
    """All tiers on one clock. `cores` are of the one machine that they share; without any, each has
    its own. `heard` is told of each first token whether it was cached and its seconds."""

    def __init__(
        self,
        clock: Clock,
        costs: Costs,
        traffic: Traffic,
        fleet: Fleet,
        chance: Random,
        heard: Callable[[bool, float], None],
        cores: Cores | None = None,
    ) -> None:
        self.clock, self.costs, self.traffic = clock, costs, traffic
        self._chance, self._heard, self.cores = chance, heard, cores
        width = costs.encoder_width
        self.nginx = Station(clock, fleet.nginx, cores)
        self.api = [Station(clock, 1, cores) for _ in range(fleet.api)]
        self.redis = [Station(clock, 1, cores) for _ in range(fleet.redis)]
        # With cores of its own no more can run than there are; else as many as have a connection.
        at_once = fleet.postgres if cores is None else POOL * fleet.api
        self.postgres = Station(clock, at_once, cores)
        self.encoder = [
            Batches(clock, BATCH, costs.encode, cores, width) for _ in range(fleet.encoder)
        ]
        self.model = Slots(clock, fleet.model * traffic.model.streams)
        self._open = [0] * fleet.api

    def question(self) -> Process:
        """One question, from its arrival to its answer's end."""
        asked = self.clock.now
        place = min(range(len(self._open)), key=self._open.__getitem__)  # nginx: least_conn
        self._open[place] += 1
        api, redis = self.api[place], self._chance.choice(self.redis)
        if self.cores is None:
            yield self.nginx.work(self.costs["nginx"])
        if self._chance.random() < self.traffic.hit_rate:
            yield from self._cached(api, redis, asked)
        else:
            yield from self._new(api, redis, asked)
        self._open[place] -= 1

    def _cached(self, api: Station, redis: Station, asked: float) -> Process:
        costs = self.costs
        cpu, stored = costs["api_cached"], costs["postgres_cached"]
        yield api.work(cpu * BEFORE_FIRST / 2)
        yield together(self.postgres.work(stored * LOAD), redis.work(costs["redis_cached"]))
        yield api.work(cpu * BEFORE_FIRST / 2)
        self._heard(True, self.clock.now - asked)
        yield self.postgres.work(stored * (1 - LOAD))
        yield api.work(cpu * (1 - BEFORE_FIRST))
        yield from self._beside(costs["beside_cached"])

    def _new(self, api: Station, redis: Station, asked: float) -> Process:
        costs = self.costs
        cpu, stored, found = costs.api_new, costs["postgres_cached"], costs.search / SOURCES
        yield api.work(cpu * BEFORE_FIRST / 2)
        yield together(self.postgres.work(stored * LOAD), redis.work(costs["redis_new"] / 2))
        yield min(self.encoder, key=_load).join()
        yield together(*(self.postgres.work(found) for _ in range(SOURCES)))
        yield api.work(cpu * BEFORE_FIRST / 2)
        yield from self._answer(api, asked)
        yield together(self.postgres.work(stored * (1 - LOAD)), redis.work(costs["redis_new"] / 2))
        yield api.work(cpu * (1 - BEFORE_FIRST))
        yield from self._beside(costs["beside_new"])

    def _answer(self, api: Station, asked: float) -> Process:
        """The model's tokens, relayed as they come."""
        model, tokens = self.traffic.model, self.traffic.answer_tokens
        each = token_cost(self.costs, model)
        yield self.model.take()
        taken = self.clock.now
        yield self.clock.sleep(model.first_token_seconds)
        yield api.work(each)
        self._heard(False, self.clock.now - asked)
        behind = model.seconds(tokens) - model.first_token_seconds
        for _ in range(PIECES):
            yield self.clock.sleep(behind / PIECES)
            yield api.work(each * (tokens - 1) / PIECES)
        self.model.give_back(taken)

    def _beside(self, seconds: float) -> Process:
        """What the bench's own clients take of the machine they share with the service."""
        if self.cores is not None:
            cores = self.cores
            yield lambda resume: cores.work(seconds, resume)

    def busy_seconds(self) -> dict[str, float]:
        """Of each tier until now, in seconds of one; of the model's, of one answer's place."""
        return {
            "nginx": self.nginx.busy_seconds,
            "api": _busy(self.api),
            "redis": _busy(self.redis),
            "postgres": self.postgres.busy_seconds,
            "encoder": _busy(self.encoder),
            "model": self.model.counted.present_seconds(),
        }


def _load(encoder: Batches) -> int:
    return encoder.load


def _busy(stations: Sequence[Station] | Sequence[Batches]) -> float:
    return sum(each.busy_seconds for each in stations)
