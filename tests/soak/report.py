"""The table at the end, and the same for a file."""

import os
import platform
from collections.abc import Sequence
from typing import Any

from tests.soak.row import Result

HEAD = ("row", "promise", "figure", "value", "limit", "verdict")


def table(results: Sequence[Result]) -> str:
    """A line for each figure, in Markdown, aligned; notes below."""
    lines = [HEAD, *(line for result in results for line in _lines(result))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    printed = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    notes = [f"Row {each.row.number}: {note}" for each in results for note in each.notes]
    return "\n".join([*printed, *([""] if notes else []), *notes])


def summary(results: Sequence[Result]) -> str:
    """A line for each row, in Markdown: what a README has room for."""
    lines = [f"| {each.row.number} | {each.row.promise} | {_headline(each)} |" for each in results]
    return "\n".join(["|  | promise | kept in one run |", "|---|---|---|", *lines])


def fields(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Everything that is known, for JSON."""
    return {
        "machine": machine(),
        "seed": seed,
        "kept": all(each.kept for each in results),
        "rows": [
            {
                "row": each.row.number,
                "promise": each.row.promise,
                "verdict": _verdict(each),
                "error": each.error,
                "seconds": round(each.seconds, 1),
                "figures": each.figures,
                "limits": {name: str(limit) for name, limit in each.row.limits.items()},
                "notes": each.notes,
            }
            for each in results
        ],
    }


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _headline(result: Result) -> str:
    if not result.kept:
        return "BROKEN"
    return "; ".join(f"{name} {_number(result.figures[name])}" for name in result.row.headline)


def _lines(result: Result) -> list[tuple[str, ...]]:
    """The row as a whole first, then its figures in the order in which they came."""
    row = result.row
    summary = result.error or f"after {result.seconds:,.0f} s"
    first = (str(row.number), row.promise, summary, "", "", _verdict(result))
    names = [*result.figures, *(each for each in row.limits if each not in result.figures)]
    return [first, *(_line(result, name) for name in names)]


def _line(result: Result, name: str) -> tuple[str, ...]:
    value, limit = result.figures.get(name), result.row.limits.get(name)
    return (
        "",
        "",
        name,
        "not measured" if value is None else _number(value),
        "" if limit is None else str(limit),
        result.verdict(name) or "",
    )


def _verdict(result: Result) -> str:
    return "kept" if result.kept else "BROKEN"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"
