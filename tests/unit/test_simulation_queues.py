"""The engine and its stations against what queueing theory says of them."""

from collections.abc import Callable
from math import factorial
from random import Random

import pytest

from app.simulation.engine import Clock, Process, Step, start, together
from app.simulation.stations import Batches, Cores, Counted, Slots, Station

SECONDS = 40_000.0


def visits(clock: Clock, rate: float, work: Callable[[Random], Step], seed: int = 1) -> Counted:
    """Who comes by chance, a Poisson process, and has work done; counted until it is."""
    chance, counted = Random(seed), Counted(clock)

    def visit() -> Process:
        came = counted.come()
        yield work(chance)
        counted.leave(came)

    def arrive() -> Process:
        while True:
            yield clock.sleep(chance.expovariate(rate))
            start(visit())

    start(arrive())
    return counted


def erlang_c(servers: int, load: float) -> float:
    """The share that has to wait (Erlang's formula of 1917)."""
    waiting = load**servers / factorial(servers) * servers / (servers - load)
    return waiting / (sum(load**n / factorial(n) for n in range(servers)) + waiting)


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.3), (1, 0.7), (2, 1.4), (5, 4.0)])
def test_waiting_in_line_is_as_of_the_formula(servers: int, rate: float) -> None:
    clock = Clock()
    station = Station(clock, servers)
    counted = visits(clock, rate, lambda chance: station.work(chance.expovariate(1.0)))
    clock.run(SECONDS)
    stayed = 1 + erlang_c(servers, rate) / (servers - rate)
    assert counted.stayed_seconds / counted.left == pytest.approx(stayed, rel=0.06)
    assert station.busy_seconds / SECONDS == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize("size", [lambda chance: 1.0, lambda chance: chance.expovariate(1.0)])
def test_shared_cores_care_for_the_mean_alone(size: Callable[[Random], float]) -> None:
    """M/G/1 with processor sharing: the same time for even work as for uneven."""
    clock = Clock()
    cores = Cores(clock, 1)

    def shared(chance: Random) -> Step:
        seconds = size(chance)
        return lambda resume: cores.work(seconds, resume)

    counted = visits(clock, 0.6, shared)
    clock.run(SECONDS)
    cores.advance()
    assert counted.stayed_seconds / counted.left == pytest.approx(1 / 0.4, rel=0.06)
    assert cores.done_seconds / SECONDS == pytest.approx(0.6, rel=0.03)


def test_littles_law_and_nobody_is_lost() -> None:
    clock = Clock()
    station = Station(clock, 2)
    counted = visits(clock, 1.6, lambda chance: station.work(chance.expovariate(1.0)))
    for until in (100.0, 10_000.0, SECONDS):
        clock.run(until)
        assert counted.arrived == counted.left + counted.present
        assert station.counted.arrived == station.counted.left + station.counted.present
    mean = counted.present_seconds() / SECONDS
    stayed = counted.stayed_seconds / counted.left
    assert mean == pytest.approx(counted.left / SECONDS * stayed, rel=0.01)


def ends(clock: Clock, *steps: Step) -> list[float]:
    """When each of them, begun at the same time, is over."""
    over: list[float] = [-1.0] * len(steps)

    def one(place: int, step: Step) -> Process:
        yield step
        over[place] = clock.now

    for place, step in enumerate(steps):
        start(one(place, step))
    clock.run(1000.0)
    return over


def test_cores_are_shared_evenly() -> None:
    clock = Clock()
    cores = Cores(clock, 1)
    steps = [lambda resume, each=each: cores.work(each, resume) for each in (1.0, 2.0, 3.0)]
    assert ends(clock, *steps) == pytest.approx([3.0, 5.0, 6.0])


def test_work_on_two_cores_takes_one_from_others() -> None:
    clock = Clock()
    cores = Cores(clock, 2)
    assert ends(
        clock,
        lambda resume: cores.work(3.0, resume, 2.0),  # 2 of 3 widths on 2 cores: at 2/3 speed
        lambda resume: cores.work(1.0, resume),
    ) == pytest.approx([3.5, 1.5])


def test_places_are_taken_in_turn() -> None:
    clock = Clock()
    station = Station(clock, 2)
    assert ends(clock, *(station.work(each) for each in (3.0, 1.0, 1.0, 2.0))) == [3, 1, 2, 4]
    assert (station.load, station.busy_seconds) == (0, 7.0)


def test_side_by_side_is_over_with_the_last() -> None:
    clock = Clock()
    both = together(clock.sleep(1.0), clock.sleep(4.0), clock.sleep(2.0))
    assert ends(clock, both) == [4.0]


def test_what_waits_goes_in_one_batch() -> None:
    clock = Clock()
    encoder = Batches(clock, 3, lambda texts: 1.0 + texts)
    assert ends(clock, *(encoder.join() for _ in range(6))) == [2, 6, 6, 6, 9, 9]
    assert (encoder.batches, encoder.busy_seconds, encoder.load) == (3, 9.0, 0)


def test_a_place_is_kept_until_it_is_given_back() -> None:
    clock = Clock()
    slots = Slots(clock, 1)
    began: list[float] = []

    def hold(seconds: float) -> Process:
        yield slots.take()
        began.append(clock.now)
        taken = clock.now
        yield clock.sleep(seconds)
        slots.give_back(taken)

    for seconds in (2.0, 3.0, 1.0):
        start(hold(seconds))
    clock.run(10.0)
    assert began == [0.0, 2.0, 5.0]
    assert slots.counted.present_seconds() == pytest.approx(6.0)
