"""The service simulated: nothing is lost, more load is never less work, the sums agree."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from app.bench.concurrency import Load as ConcurrencyLoad
from app.bench.figures import Figure
from app.bench.machine import this_machine
from app.bench.results import Outcome as BenchOutcome
from app.bench.results import Results, named
from app.bench.tiers import CACHED, NEW, Told, figures
from app.bench.tiers import TIERS as BENCH_TIERS
from app.bench.tiers import Load as TiersLoad
from app.errors import InvalidInput
from app.simulation.costs import BATCH, BENCH_TOKENS, SHIPPED, Costs, Source, costs_of
from app.simulation.planning import first_to_saturate, holds, needed, seconds_a_question
from app.simulation.running import Arrivals, Clients, Load, Outcome, Setup, quantile, simulate
from app.simulation.service import TIERS, Fleet, Model, Traffic
from app.simulation.sweep import BENCHED, checked, length, rates, sweep

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
COSTS = Costs()
# Short answers, so that a minute has many of them.
TRAFFIC = Traffic(0.5, 32, Model(64, 0.05, 100.0))
SETUP = Setup(COSTS, TRAFFIC, needed(COSTS, TRAFFIC, 40.0))


@pytest.mark.parametrize("load", [Arrivals(5.0), Arrivals(40.0), Arrivals(400.0), Clients(20)])
@pytest.mark.parametrize("cores", [None, 2])
def test_every_question_is_answered_or_on_its_way(load: Load, cores: int | None) -> None:
    seen = simulate(replace(SETUP, machine_cores=cores), load, 10.0)
    assert seen.asked == seen.answered + seen.left
    assert seen.answered > 0
    assert all(0 <= each <= 1.001 for each in seen.utilisation.values())
    assert len(seen.first_new) + len(seen.first_cached) <= seen.asked


def test_littles_law_of_all_questions() -> None:
    seen = simulate(SETUP, Arrivals(40.0), 200.0)
    assert seen.present == pytest.approx(seen.answered / 200.0 * seen.stayed, rel=0.02)


def test_how_busy_a_tier_is_follows_from_its_costs() -> None:
    """The utilisation law, but for the encoder: its batches are shorter than full ones."""
    rate = 40.0
    seen = simulate(SETUP, Arrivals(rate), 200.0)
    each = holds(COSTS, TRAFFIC)
    assert seen.per_second == pytest.approx(rate, rel=0.03)
    for tier in set(TIERS) - {"encoder"}:
        expected = rate / each[tier] / SETUP.fleet.of(tier)
        assert seen.utilisation[tier] == pytest.approx(expected, rel=0.06), tier
    assert seen.utilisation["encoder"] >= 0.9 * rate / each["encoder"] / SETUP.fleet.encoder


def test_more_load_is_more_work_and_no_shorter_wait() -> None:
    points = [*sweep(SETUP, rates(SETUP, 40.0), 2000, 3)]
    assert [each.asked_per_second for each in points] == rates(SETUP, 40.0)
    assert 40.0 in rates(SETUP, 40.0)
    assert 1e6 not in rates(SETUP, 1e6)
    seen = [each.outcome for each in points]
    for less, more in pairwise(seen):
        assert more.per_second > less.per_second
        assert all(more.utilisation[tier] >= less.utilisation[tier] * 0.97 for tier in TIERS)
    assert waited(seen[-1]) > waited(seen[0])


def waited(outcome: Outcome) -> float:
    found = quantile(outcome.first_cached, 0.95)
    assert found is not None
    return found


def test_the_same_chance_gives_the_same() -> None:
    one, same, other = (simulate(SETUP, Arrivals(30.0), 20.0, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_hits_alone_need_no_encoder_and_no_model() -> None:
    traffic = replace(TRAFFIC, hit_rate=1.0)
    assert {"encoder", "model"}.isdisjoint(holds(COSTS, traffic))
    fleet = needed(COSTS, traffic, 5000.0)
    assert (fleet.encoder, fleet.model) == (1, 1)
    seen = simulate(Setup(COSTS, traffic, fleet), Arrivals(500.0), 4.0)
    assert (seen.first_new, quantile(seen.first_new, 0.5)) == ([], None)
    assert seen.utilisation["encoder"] == seen.utilisation["model"] == 0


@pytest.mark.parametrize("hit_rate", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate", [1.0, 50.0, 1000.0, 100_000.0])
def test_what_is_needed_is_busy_enough_and_no_more(hit_rate: float, rate: float) -> None:
    traffic = Traffic(hit_rate)
    fleet, each = needed(COSTS, traffic, rate, 0.6), holds(COSTS, traffic)
    for tier, one in each.items():
        assert rate / (one * fleet.of(tier)) <= 0.6001
        assert fleet.of(tier) == 1 or rate / (one * (fleet.of(tier) - 1)) > 0.6
    tier, most = first_to_saturate(COSTS, traffic, fleet)
    assert most >= rate
    assert most == min(one * fleet.of(name) for name, one in each.items())
    assert first_to_saturate(COSTS, traffic, fleet.with_(**{tier: 10**9}))[0] != tier


def test_an_encoder_is_as_it_was_measured() -> None:
    assert COSTS.encode(1) == pytest.approx(COSTS["encoder_lone"])
    assert BATCH / COSTS.encode(BATCH) == pytest.approx(COSTS["encoder_rate"])
    assert COSTS.encode(2) > COSTS.encode(1)


def test_tokens_one_by_one_cost_more_than_at_once() -> None:
    slow = seconds_a_question(COSTS, Traffic(0.0, 64, Model(64, 0.3, 40.0)))
    fast = seconds_a_question(COSTS, Traffic(0.0, 64, BENCHED))
    assert fast["api"] == pytest.approx(COSTS["api_new"])
    assert slow["api"] - fast["api"] == pytest.approx(
        64 * (COSTS["token_alone"] - COSTS["token_burst"])
    )


def test_too_many_to_simulate_is_said() -> None:
    with pytest.raises(InvalidInput, match="Simulate one of several installations"):
        length(Setup(), 100_000.0, 3000)
    with pytest.raises(InvalidInput):
        [*sweep(Setup(), [1.0, 100_000.0], 3000, 0)]


def test_the_benches_are_simulated_within_their_measure() -> None:
    """docs/scaling.md states these errors."""
    errors = {each.measured.told: each.error for each in checked(COSTS, 2, 5.0, 0)}
    assert len(errors) == 7
    assert all(-0.5 < error < 0.5 for error in errors.values()), errors


def results(*outcomes: BenchOutcome) -> Results:
    return Results(datetime(2026, 1, 2, tzinfo=UTC), this_machine(), outcomes)


def test_costs_are_taken_from_a_file_of_results() -> None:
    source = SHIPPED["token_alone"]
    figure = Figure(source.figure, source.unit, [1.0, 3.0, 2.0])
    other = Figure("something else", "ms", [5.0])
    outcome = BenchOutcome(source.bench, "", 3, 1.0, 0.0, [figure, other])
    costs, missing = costs_of(results(outcome))
    assert costs.sources["token_alone"] == Source(2.0, "µs", source.bench, source.figure)
    assert costs["token_alone"] == pytest.approx(2e-6)
    assert source.told not in missing
    assert len(missing) == len(SHIPPED) - 1


def test_names_are_those_of_the_benches() -> None:
    load, bench = TiersLoad(), ConcurrencyLoad()
    told = Told(1.0, dict.fromkeys(BENCH_TIERS, 1.0))
    tiers = {each.name for each in named(figures({NEW: [told], CACHED: [told]}, load, 0))}
    page = PAGE.read_text()
    for source in SHIPPED.values():
        if source.bench == "tiers":
            assert source.figure in tiers
        elif source.bench in ("concurrency", "memory"):
            assert f"| {source.figure} |" in page
    assert (bench.whole_clients, bench.cached_clients) == (16, 32)
    assert (load.new_clients, load.cached_clients) == (16, 32)
    assert BENCH_TOKENS == 64


def test_fleets_name_every_tier() -> None:
    assert [Fleet(2, 3, 4, 5, 6, 7).of(tier) for tier in TIERS] == [2, 3, 4, 5, 6, 7]
