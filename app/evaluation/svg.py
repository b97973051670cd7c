"""Two plots as SVG text, readable in light and dark: colours come from the page's variables.

Series are told apart by dashes and words too, not by colour alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
LEFT, RIGHT, TOP = 90, 60, 30  # room for names, values and the legend
ROW = 30
LINES_HEIGHT = 280
LEGEND_STEP = 120
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 4", "12 4")


@dataclass(frozen=True, slots=True)
class Bar:
    """One value from 0 on; `whisker` is a second, larger one, as a line beyond the bar's end."""

    name: str
    value: float
    shown: str
    whisker: float | None = None


def bars(title: str, rows: Sequence[Bar], highest: float) -> str:
    """Horizontal bars from 0 to `highest`, each with its value written beside it."""
    scale = (WIDTH - LEFT - 2.5 * RIGHT) / (highest or 1)
    parts = []
    for place, row in enumerate(rows):
        y, length = place * ROW + 6, row.value * scale
        middle = y + ROW / 2 - 4
        end = max(length, (row.whisker or 0) * scale)
        parts.append(text(LEFT - 8, middle + 4, row.name, "end"))
        parts.append(
            f'<rect class="c0" x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 8}" rx="2"/>'
        )
        if row.whisker is not None:
            parts.append(
                f'<path class="axis" d="M{LEFT + length:.1f} {middle}H{LEFT + end:.1f}m0 -5v10"/>'
            )
        parts.append(text(LEFT + end + 8, middle + 4, row.shown))
    return svg(title, len(rows) * ROW + 10, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[float]],
    lowest: float,
    across_from: Sequence[str] = (),
) -> str:
    """One line a series, its values at 1, 2, 3, … or what `across_from` calls them; the vertical
    axis is from `lowest` to 1."""
    count = max(len(values) for values in series.values())
    across = (WIDTH - LEFT - RIGHT) / max(1, count - 1)
    height = LINES_HEIGHT - 2 * TOP

    def y(value: float) -> float:
        return TOP + height * (1 - (value - lowest) / (1 - lowest))

    marks = across_from or [str(place + 1) for place in range(count)]
    parts = [_grid(value, y(value)) for value in _ticks(lowest)]
    for place in range(0, count, max(1, count // 10)):
        parts.append(text(LEFT + place * across, LINES_HEIGHT - 8, marks[place], "middle"))
    for number, (name, values) in enumerate(series.items()):
        points = " ".join(
            f"{LEFT + i * across:.1f},{y(value):.1f}" for i, value in enumerate(values)
        )
        style = f'class="l{number % len(DASHES)}" stroke-dasharray="{DASHES[number % len(DASHES)]}"'
        at = LEFT + number * LEGEND_STEP
        parts.append(f'<polyline {style} points="{points}"/>')
        parts.append(f'<path {style} d="M{at} 12h26"/>')
        parts.append(text(at + 32, 16, name))
    return svg(title, LINES_HEIGHT, parts)


def _ticks(lowest: float) -> list[float]:
    return [lowest + (1 - lowest) * step / 4 for step in range(5)]


def _grid(value: float, y: float) -> str:
    line = f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    return line + text(LEFT - 8, y + 4, f"{value:.3g}", "end")


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Words at a point; `kind` is a class of the style sheet."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """A drawing of these elements, with a name for whoever does not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
