"""`citestream simulate`: what a load needs, as tables and plots, and the simulation's own error."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.bench.figures import number
from app.bench.results import read_results
from app.errors import InvalidInput
from app.simulation import plots
from app.simulation.costs import Costs, costs_of
from app.simulation.planning import first_to_saturate, holds, needed, seconds_a_question
from app.simulation.running import Outcome, Setup, quantile
from app.simulation.service import TIERS, Fleet, Traffic
from app.simulation.sweep import Point, checked, rates, sweep

CHECK_SECONDS = 20.0  # simulated, of each bench
UNITS = {
    "nginx": "a core",
    "api": "a process",
    "redis": "a node",
    "postgres": "a core",
    "encoder": "a process",
    "model": "a server",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was called with. `questions` 0: no simulation, only what the costs say."""

    per_second: float
    traffic: Traffic
    replicas: str
    utilisation: float
    questions: int
    seed: int
    costs: Path | None
    plot: Path | None


def counts(text: str) -> dict[str, int]:
    """`api=4,postgres=8` by tier. Raises InvalidInput."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        tier, _, number = part.partition("=")
        if tier not in TIERS:
            raise InvalidInput(f"{tier!r} is no tier; there are {', '.join(TIERS)}.")
        if not number.isdecimal() or not 1 <= int(number) <= 1_000_000:
            raise InvalidInput(f"How many of {tier}? Write {tier}=4, from 1 to 1,000,000.")
        found[tier] = int(number)
    return found


def simulate_load(options: Options, console: Console) -> None:
    """Raises InvalidInput."""
    named = counts(options.replicas)
    _check_folder(options.plot)
    costs = read_costs(options.costs, console)
    plan = needed(costs, options.traffic, options.per_second, options.utilisation)
    fleet = plan.with_(**named)
    setup = Setup(costs, options.traffic, fleet)
    console.print(_tiers(costs, options, plan, fleet))
    tier, most = first_to_saturate(costs, options.traffic, fleet)
    _say(console, f"{tier} saturates first, at {number(most)} questions a second.")
    if options.per_second >= most:
        _say(console, f"That is less than the {options.per_second:,g} a second asked for.")
    made: list[Point] = []
    if options.questions:
        at = rates(setup, options.per_second)
        made = [*sweep(setup, at, options.questions, options.seed)]
        console.print(_points(made, options.per_second))
    if options.plot is not None:
        _draw(options.plot, costs, options.traffic, made, console)


def check_simulation(file: Path | None, cores: int, seed: int, console: Console) -> None:
    """Print what the benches measured on one machine beside the same simulated. Raises
    InvalidInput."""
    costs = read_costs(file, console)
    table = _table(
        "", "by bench", "measured", "simulated", "error", title=f"One machine of {cores} cores"
    )
    for each in checked(costs, cores, CHECK_SECONDS, seed):
        unit = each.measured.unit
        table.add_row(
            each.name,
            each.measured.bench,
            f"{number(each.measured.value)} {unit}",
            f"{number(each.simulated)} {unit}",
            f"{round(each.error * 100):+d} %",
        )
    console.print(table)


def read_costs(file: Path | None, console: Console) -> Costs:
    """Those of a file of results, with what it lacks as shipped, or all as shipped. Raises
    InvalidInput."""
    if file is None:
        return Costs()
    costs, missing = costs_of(read_results(file))
    if len(missing) == len(costs.sources):
        raise InvalidInput(
            f"{file} has none of the figures that are needed: write it with `citestream bench "
            "tiers concurrency memory encoder --output FILE`."
        )
    if missing:
        _say(console, f"Not in {file}, so as shipped: {'; '.join(missing)}.")
    return costs


def _check_folder(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder: --plot names one that exists.")


def _tiers(costs: Costs, options: Options, plan: Fleet, fleet: Fleet) -> Table:
    """What one of each tier does for a question, how many it holds, how many are needed."""
    seconds, each = seconds_a_question(costs, options.traffic), holds(costs, options.traffic)
    table = _table(
        "tier", "of", "ms a question", "one holds",
        f"needed for {options.per_second:,g}/s", "simulated", "holds",
    )  # fmt: skip
    for tier in TIERS:
        one = each.get(tier)
        held = "any" if one is None else f"{number(one)}/s"
        all_of_them = "any" if one is None else f"{number(one * fleet.of(tier))}/s"
        table.add_row(
            tier,
            UNITS[tier],
            number(seconds[tier] * 1000),
            held,
            f"{plan.of(tier):,}",
            f"{fleet.of(tier):,}",
            all_of_them,
        )
    return table


def _points(points: Sequence[Point], per_second: float) -> Table:
    """A row a load: first tokens, and how busy each tier is."""
    heads = ("new p50", "new p95", "cached p50", "cached p95")
    table = _table("questions/s", *heads, *TIERS, title="First token in ms, and how busy")
    for point in points:
        style = "bold" if point.asked_per_second == per_second else ""
        table.add_row(f"{point.asked_per_second:,.1f}", *_row(point.outcome), style=style)
    return table


def _row(outcome: Outcome) -> list[str]:
    heard = (outcome.first_new, outcome.first_cached)
    times = [quantile(seconds, share) for seconds in heard for share in (0.5, 0.95)]
    return [
        *("–" if each is None else number(each * 1000) for each in times),
        *(f"{outcome.utilisation[tier]:.0%}" for tier in TIERS),
    ]


def _draw(
    folder: Path, costs: Costs, traffic: Traffic, points: Sequence[Point], console: Console
) -> None:
    made = {"tiers": plots.tiers(costs, traffic), "machines": plots.machines(costs, traffic)}
    if points:
        made |= {"latency": plots.latency(points), "utilisation": plots.utilisation(points)}
    for name, drawn in made.items():
        file = folder / f"scaling-{name}.svg"
        try:
            file.write_text(drawn, encoding="utf-8")
        except OSError:
            raise InvalidInput(f"{file} cannot be written.") from None
        _say(console, f"Written: {file}")


def _table(*heads: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    return table


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
