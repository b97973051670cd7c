"""The same fleet under more and more questions; and the benches once more, simulated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.errors import InvalidInput
from app.simulation.costs import BENCH_TOKENS, Costs, Source
from app.simulation.planning import first_to_saturate
from app.simulation.running import (
    WARM_SHARE,
    Arrivals,
    Clients,
    Load,
    Outcome,
    Setup,
    quantile,
    simulate,
)
from app.simulation.service import Fleet, Model, Traffic

SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95)  # of what the fleet holds
NEAR = 0.05  # of the load that is asked about, another one would tell nothing new
# Answers, and so queues, need times as long as themselves to become what they are in the long run.
ANSWERS_LONG = 6
MOST_QUESTIONS = 40_000
# As the benches are: the model says its tokens as fast as they are taken, to any number at once.
BENCHED = Model(streams=1_000_000, first_token_seconds=0.0, tokens_per_second=0.0)


@dataclass(frozen=True, slots=True)
class Point:
    """What came of one number of questions a second."""

    asked_per_second: float
    outcome: Outcome


def length(setup: Setup, per_second: float, questions: int) -> float:
    """The seconds to simulate: for so many questions, and for several answers one after the other.
    Raises InvalidInput where that is more than a patient person waits for."""
    answer = setup.traffic.model.seconds(setup.traffic.answer_tokens)
    seconds = max(questions / per_second, ANSWERS_LONG * answer / (1 - WARM_SHARE))
    if seconds * per_second > MOST_QUESTIONS:
        raise InvalidInput(
            f"{per_second:,.0f} questions a second are too many to simulate one by one, because an "
            f"answer takes {answer:.1f} s. Simulate one of several installations that share them, "
            "or leave the simulation out with --questions 0."
        )
    return seconds


def rates(setup: Setup, per_second: float) -> list[float]:
    """Shares of what the fleet holds, and the load that is asked about where it holds that."""
    _, most = first_to_saturate(setup.costs, setup.traffic, setup.fleet)
    shares = [share * most for share in SHARES]
    if per_second >= most:
        return shares
    return sorted([per_second, *(rate for rate in shares if abs(rate / per_second - 1) > NEAR)])


def sweep(setup: Setup, per_second: Sequence[float], questions: int, seed: int) -> Iterator[Point]:
    """A simulation for each rate. Raises InvalidInput before the first where one is too many."""
    seconds = [length(setup, rate, questions) for rate in per_second]
    for rate, long in zip(per_second, seconds, strict=True):
        yield Point(rate, simulate(setup, Arrivals(rate), long, seed))


@dataclass(frozen=True, slots=True)
class Check:
    """A figure of the benches, and the same of the simulation."""

    name: str
    measured: Source
    simulated: float

    @property
    def error(self) -> float:
        """As a share of what was measured."""
        return self.simulated / self.measured.value - 1


@dataclass(frozen=True, slots=True)
class _Benched:
    """A bench as the simulation has it: who asks for what, and which number is looked at."""

    cost: str
    name: str
    load: Load
    hit_rate: float
    read: Callable[[Outcome], float]


def _rate(outcome: Outcome) -> float:
    return outcome.per_second


def _first_ms(outcome: Outcome) -> float:
    return (quantile(outcome.first_new, 0.5) or 0.0) * 1000


def _whole_ms(outcome: Outcome) -> float:
    return outcome.stayed * 1000


_BENCHES = (
    _Benched("tiers_new", "new answers, 16 clients", Clients(16), 0.0, _rate),
    _Benched("measured_new", "new answers, 16 clients", Clients(16), 0.0, _rate),
    _Benched("tiers_cached", "cached answers, 32 clients", Clients(32), 1.0, _rate),
    _Benched("measured_cached", "cached answers, 32 clients", Clients(32), 1.0, _rate),
    _Benched("measured_first_1", "first token, 1 client, p50", Clients(1), 0.0, _first_ms),
    _Benched("measured_first_8", "first token, 8 clients, p50", Clients(8), 0.0, _first_ms),
    _Benched("measured_cached_1", "a cached answer, 1 client", Clients(1), 1.0, _whole_ms),
)


def checked(costs: Costs, cores: int, seconds: float, seed: int) -> Iterator[Check]:
    """Every bench of `citestream bench concurrency` once more, everything on one machine."""
    for each in _BENCHES:
        traffic = Traffic(each.hit_rate, BENCH_TOKENS, BENCHED)
        setup = Setup(costs, traffic, Fleet(), cores)
        outcome = simulate(setup, each.load, seconds, seed)
        yield Check(each.name, costs.sources[each.cost], each.read(outcome))
