"""Simulating a load: questions that come by chance, or clients who ask again once answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from app.simulation.costs import Costs
from app.simulation.engine import Clock, Process, start
from app.simulation.service import TIERS, Fleet, Service, Traffic
from app.simulation.stations import Cores, Counted

WARM_SHARE = 0.2  # of the time, at first, that does not count


@dataclass(frozen=True, slots=True)
class Arrivals:
    """So many a second, each whenever it likes (a Poisson process)."""

    per_second: float


@dataclass(frozen=True, slots=True)
class Clients:
    """Each asks its next question when it has the answer to the last, as those of a bench do."""

    count: int


Load: TypeAlias = Arrivals | Clients


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated. `machine_cores`: everything on one machine of so many, as it is benched;
    None: each tier on cores of its own."""

    costs: Costs = field(default_factory=Costs)
    traffic: Traffic = field(default_factory=Traffic)
    fleet: Fleet = field(default_factory=Fleet)
    machine_cores: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen behind the warm-up, but `asked` and `answered`, which are of all the time;
    `left` are the questions that were on their way at its end. First tokens in seconds, sorted."""

    per_second: float
    utilisation: Mapping[str, float]
    first_new: Sequence[float]
    first_cached: Sequence[float]
    asked: int
    answered: int
    left: int
    present: float  # questions on their way, on average over all the time
    stayed: float  # seconds of those that were answered, on average


def simulate(setup: Setup, load: Load, seconds: float, seed: int = 0) -> Outcome:
    """The same for the same seed."""
    clock, chance = Clock(), Random(seed)  # noqa: S311 — no secret
    cores = None if setup.machine_cores is None else Cores(clock, setup.machine_cores)
    warm = seconds * WARM_SHARE
    heard: dict[bool, list[float]] = {False: [], True: []}

    def hear(cached: bool, waited: float) -> None:
        if clock.now >= warm:
            heard[cached].append(waited)

    service = Service(clock, setup.costs, setup.traffic, setup.fleet, chance, hear, cores)
    counted = Counted(clock)
    _begin(load, service, counted, chance)
    clock.run(warm)
    before, answered = service.busy_seconds(), counted.left
    clock.run(seconds)
    after, lasted = service.busy_seconds(), seconds - warm
    places = {tier: _places(tier, setup) for tier in TIERS}
    return Outcome(
        per_second=(counted.left - answered) / lasted,
        utilisation={t: (after[t] - before[t]) / lasted / places[t] for t in TIERS},
        first_new=sorted(heard[False]),
        first_cached=sorted(heard[True]),
        asked=counted.arrived,
        answered=counted.left,
        left=counted.present,
        present=counted.present_seconds() / seconds,
        stayed=counted.stayed_seconds / counted.left if counted.left else 0.0,
    )


def quantile(values: Sequence[float], share: float) -> float | None:
    """Of sorted values; None where there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def _places(tier: str, setup: Setup) -> int:
    count = setup.fleet.of(tier)
    return count * setup.traffic.model.streams if tier == "model" else count


def _begin(load: Load, service: Service, counted: Counted, chance: Random) -> None:
    if isinstance(load, Arrivals):
        start(_arrive(load.per_second, service, counted, chance))
    else:
        for _ in range(load.count):
            start(_ask_on(service, counted))


def _arrive(per_second: float, service: Service, counted: Counted, chance: Random) -> Process:
    while True:
        yield service.clock.sleep(chance.expovariate(per_second))
        start(_asked(service, counted))


def _ask_on(service: Service, counted: Counted) -> Process:
    while True:
        yield from _asked(service, counted)


def _asked(service: Service, counted: Counted) -> Process:
    came = counted.come()
    yield from service.question()
    counted.leave(came)
