"""Figures as plots: each one's rounds as dots, their median as a bar, the limit as a dashed line.

The side of a limit on which a figure misses is shaded, and a miss is written, not only coloured.
Every figure has an axis of its own, from 0, because no two need have the same unit.
"""

from collections.abc import Sequence

from app.bench.figures import Figure
from app.evaluation.page import COLOURS
from app.evaluation.svg import WIDTH, svg, text

HEIGHT, TOP, AXIS = 50, 15, 34  # of a figure; of its name and of its axis within that
LENGTH, END = 430, 444  # of the axis; where the words behind it begin
KEY = (
    "Each dot is a round and the bar their median; the dashed line is what must be reached, and "
    "the shade where it is missed. Every axis is its figure's own, from 0 on."
)
ROOM = 1.05  # beyond what is furthest out
DOT, MEDIAN, LIMIT = 4, 9, 11  # half of their heights

STYLE = """
.dot { fill: var(--c0); fill-opacity: .55 } svg .median { stroke: var(--text); stroke-width: 3 }
svg .limit { stroke: var(--c1); stroke-dasharray: 4 3 }
.beyond { fill: var(--c1); fill-opacity: .13 }
svg .missed, .missed { fill: var(--c1); color: var(--c1); font-weight: 600 }
"""
MARGIN = 12
# A plot in a file of its own has nothing of a page's around it.
ALONE = """
svg { font: 13px system-ui, sans-serif } text { fill: var(--text) } path { fill: none }
.paper { fill: var(--page) } path { stroke-width: 2 } .grid { stroke: var(--line); stroke-width: 1 }
"""


def plot(title: str, figures: Sequence[Figure]) -> str:
    """The figures below each other, as an `svg` element for a page that has `STYLE`."""
    parts = [part for row, each in enumerate(figures) for part in _row(each, row * HEIGHT)]
    return svg(title, len(figures) * HEIGHT, parts)


def file(title: str, figures: Sequence[Figure]) -> str:
    """The same as a file that is shown by itself, in light and dark."""
    height = len(figures) * HEIGHT
    box = f'x="{-MARGIN}" y="{-MARGIN}" width="{WIDTH + 2 * MARGIN}" height="{height + 2 * MARGIN}"'
    view = f"{-MARGIN} {-MARGIN} {WIDTH + 2 * MARGIN} {height + 2 * MARGIN}"
    paper = f'<style>{COLOURS}{ALONE}{STYLE}</style><rect class="paper" {box}/>'
    return (
        plot(title, figures)
        .replace(
            f'<svg viewBox="0 0 {WIDTH} {height}"',
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}"',
        )
        .replace("</title>", f"</title>{paper}", 1)
    )


def _row(figure: Figure, y: float) -> list[str]:
    """One figure: its name, and below it the axis with what is on it and what it came to."""
    values = [*figure.values, 0.0, *([] if figure.limit is None else [figure.limit])]
    least, most = min(values) * ROOM, max(values) * ROOM
    scale = LENGTH / ((most - least) or 1)

    def x(value: float) -> float:
        return (value - least) * scale

    middle = y + AXIS
    parts = [text(0, y + TOP, figure.name), f'<path class="grid" d="M0 {middle}H{LENGTH}"/>']
    if figure.limit is not None:
        parts += _limit(x(figure.limit), middle, figure.better == "higher")
    parts += [
        f'<circle class="dot" cx="{x(value):.1f}" cy="{middle}" r="{DOT}"/>'
        for value in figure.values
    ]
    at = x(figure.median)
    parts.append(f'<path class="median" d="M{at:.1f} {middle - MEDIAN}v{2 * MEDIAN}"/>')
    said = f"{figure.amount} ({figure.aim})" if figure.aim else figure.amount
    parts.append(text(END, middle + 4, said))
    if figure.reached is False:
        parts.append(text(WIDTH, middle + 4, figure.verdict, "end", "missed"))
    return parts


def _limit(at: float, middle: float, higher: bool) -> list[str]:
    """The limit, and a shade on the side that misses it."""
    start, end = (0, at) if higher else (at, LENGTH)
    top, height = middle - LIMIT, 2 * LIMIT
    return [
        f'<rect class="beyond" x="{start:.1f}" y="{top}" width="{end - start:.1f}" '
        f'height="{height}"/>',
        f'<path class="limit" d="M{at:.1f} {top}v{height}"/>',
    ]
