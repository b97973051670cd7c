"""The simulation as pictures, each a file of its own that is read in light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TypeAlias

from app.bench.figures import number
from app.evaluation.page import COLOURS
from app.evaluation.svg import DASHES, WIDTH, svg, text
from app.simulation.costs import Costs
from app.simulation.planning import UTILISATION, holds, needed
from app.simulation.running import quantile
from app.simulation.service import TIERS, Traffic
from app.simulation.sweep import Point

NAMES = {
    "nginx": "nginx (cores)",
    "api": "API (processes)",
    "redis": "Redis (nodes)",
    "postgres": "Postgres (cores)",
    "encoder": "encoder (processes)",
    "model": "model (servers)",
}
DECADES = (10, 100, 1_000, 10_000, 100_000)  # questions a second of `machines`
STEPS = 4  # points of a line within a decade
LEFT, RIGHT, BOTTOM, HEIGHT = 70, 20, 46, 300
LEGEND, ACROSS = 20, 3  # a row of the legend, and how many names stand in it
ROW, NAMED, BEHIND = 34, 170, 110  # of the dots: a row, its name, the words behind it
LABELS = 5  # on an even axis, at most
MARGIN = 12
STYLE = """
svg { font: 13px system-ui, sans-serif } text { fill: var(--text) } .soft { fill: var(--soft) }
.paper { fill: var(--page) } polyline, path { fill: none; stroke-width: 2 }
.grid { stroke: var(--line); stroke-width: 1 } .dot { fill: var(--c0) }
""" + " ".join(f".l{number} {{ stroke: var(--c{number}) }}" for number in range(6))

Series: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from one to another: from 0 on evenly or, where `decades`, by their powers of ten."""

    least: float
    most: float
    name: str
    decades: bool = False

    def share(self, value: float) -> float:
        """Where a value stands between the ends."""
        if self.decades:
            return log10(value / self.least) / log10(self.most / self.least)
        return (value - self.least) / (self.most - self.least)

    def ticks(self) -> list[float]:
        if self.decades:
            first, last = round(log10(self.least)), round(log10(self.most))
            return [10.0**power for power in range(first, last + 1)]
        step = _round(self.most / LABELS)
        return [step * number for number in range(int(self.most / step) + 1)]

    @classmethod
    def around(cls, values: Sequence[float], name: str) -> "Axis":
        """The whole decades that have all of these in them."""
        first, last = floor(log10(min(values))), ceil(log10(max(values)))
        return cls(10.0**first, 10.0 ** max(last, first + 1), name, decades=True)


def latency(points: Sequence[Point]) -> str:
    """Milliseconds to the first token against questions a second."""
    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        heard = {"new": point.outcome.first_new, "cached": point.outcome.first_cached}
        for kind, seconds in heard.items():
            for share in (0.5, 0.95):
                if value := quantile(seconds, share):
                    line = series.setdefault(f"{kind} answer, p{share * 100:.0f}", [])
                    line.append((point.asked_per_second, value * 1000))
    upwards = Axis.around([y for line in series.values() for _, y in line], "ms to the first token")
    return _lines("Time to the first token against load", series, _rate(points), upwards)


def utilisation(points: Sequence[Point]) -> str:
    """How busy each tier is against questions a second."""
    series = {
        NAMES[tier]: [(each.asked_per_second, each.outcome.utilisation[tier]) for each in points]
        for tier in TIERS
    }
    upwards = Axis(0, 1, "share of the time at work")
    return _lines("How busy each tier is against load", series, _rate(points), upwards)


def machines(costs: Costs, traffic: Traffic) -> str:
    """How many of each tier are needed, by questions a second."""
    rates = [start * 10 ** (step / STEPS) for start in DECADES[:-1] for step in range(STEPS)] + [
        float(DECADES[-1])
    ]
    fleets = {rate: needed(costs, traffic, rate) for rate in rates}
    series = {
        NAMES[tier]: [(rate, float(fleet.of(tier))) for rate, fleet in fleets.items()]
        for tier in TIERS
    }
    upwards = Axis.around(
        [1.0, *(y for line in series.values() for _, y in line)],
        f"of each, {UTILISATION:.0%} busy at most",
    )
    across = Axis(DECADES[0], DECADES[-1], "questions a second", decades=True)
    return _lines("How many of each tier a load needs", series, across, upwards)


def tiers(costs: Costs, traffic: Traffic) -> str:
    """Questions a second that one of each tier holds, the least first."""
    each = sorted(holds(costs, traffic).items(), key=lambda item: item[1])
    axis = Axis.around([value for _, value in each], "questions a second that one of each holds")
    long = WIDTH - NAMED - BEHIND
    bottom = len(each) * ROW + 6
    parts = [
        f'<path class="grid" d="M{NAMED + axis.share(tick) * long:.1f} 0V{bottom}"/>'
        + text(NAMED + axis.share(tick) * long, bottom + 18, number(tick), "middle", "soft")
        for tick in axis.ticks()
    ]
    for place, (tier, value) in enumerate(each):
        x, y = NAMED + axis.share(value) * long, place * ROW + ROW / 2
        parts.append(text(NAMED - 12, y + 4, NAMES[tier], "end"))
        parts.append(f'<path class="l0" d="M{NAMED} {y}H{x:.1f}"/>')
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y}" r="6"/>')
        parts.append(text(x + 12, y + 4, f"{number(value)} /s"))
    parts.append(text(NAMED + long / 2, bottom + 38, axis.name, "middle", "soft"))
    return _file("What one of each tier holds", bottom + 44, parts)


def _rate(points: Sequence[Point]) -> Axis:
    return Axis(0, max(each.asked_per_second for each in points), "questions a second")


def _lines(title: str, series: Series, across: Axis, upwards: Axis) -> str:
    top = LEGEND * ceil(len(series) / ACROSS) + 26
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + across.share(value) * wide

    def y(value: float) -> float:
        return top + high * (1 - upwards.share(value))

    parts = [text(0, top - 12, upwards.name, kind="soft")]
    for tick in upwards.ticks():
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(text(LEFT - 8, y(tick) + 4, number(tick), "end", "soft"))
    for tick in across.ticks():
        parts.append(text(x(tick), top + high + 18, number(tick), "middle", "soft"))
    parts.append(text(LEFT + wide / 2, top + high + 38, across.name, "middle", "soft"))
    for place, (name, values) in enumerate(series.items()):
        style = f'class="l{place % len(DASHES)}" stroke-dasharray="{DASHES[place % len(DASHES)]}"'
        points = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in values)
        at, line = place % ACROSS * (WIDTH / ACROSS), place // ACROSS * LEGEND + 8
        parts.append(f'<polyline {style} points="{points}"/>')
        parts.append(f'<path {style} d="M{at:.1f} {line}h30"/>')
        parts.append(text(at + 38, line + 4, name))
    return _file(title, top + HEIGHT - 4, parts)


def _round(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10, … that is no smaller."""
    power = 10.0 ** floor(log10(step))
    return next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= step * 0.999)


def _file(title: str, height: float, parts: Sequence[str]) -> str:
    """A picture with paper of its own around it."""
    wide, high = WIDTH + 2 * MARGIN, height + 2 * MARGIN
    box = f'x="{-MARGIN}" y="{-MARGIN}" width="{wide}" height="{high}"'
    paper = f'<style>{COLOURS}{STYLE}</style><rect class="paper" {box}/>'
    drawn = svg(title, height, [paper, *parts])
    size = f'<svg viewBox="0 0 {WIDTH} {height}"'
    whole = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} {-MARGIN} {wide} {high}"'
    return drawn.replace(size, whole, 1) + "\n"
