"""`citestream eval cache`: whether the same question in other words is found, and no other is."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from html import escape
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from app.bootstrap import Settings, connected
from app.bootstrap.encoders import connect_main_encoder
from app.commands.evaluate import check_writable, place, table
from app.evaluation.page import document, html_table
from app.evaluation.pairs import (
    THRESHOLDS,
    Compared,
    Rate,
    compare,
    curve,
    false_hit_rate,
    guards_used,
    hit_rate,
    read_pairs,
)
from app.evaluation.svg import lines

GUARDS_HEADING = ["guard", "others declined", "same declined"]
SHOWN_FALSE = 50


async def evaluate_cache(
    pairs: Path, data: Path | None, output: Path | None, html: Path | None
) -> None:
    """Encode every pair, count, print; raises AppError for what is wrong."""
    for file in (output, html):
        check_writable(file)
    read = await asyncio.to_thread(read_pairs, pairs)
    settings = place(Settings(), data, None)
    async with connected(settings, lambda _: None) as live, AsyncExitStack() as stack:
        encoder = await connect_main_encoder(live, stack)
        compared = [await compare(encoder, pair) for pair in read]
    threshold = settings.cache.semantic_threshold
    print_rates(Console(), f"{pairs.name} by {encoder.name}", compared, threshold)
    if output is not None:
        fields = orjson.dumps(figures(compared, threshold), option=orjson.OPT_INDENT_2)
        await asyncio.to_thread(output.write_bytes, fields)
    if html is not None:
        text = page(f"{pairs.name} by {encoder.name}", compared, threshold)
        await asyncio.to_thread(html.write_text, text, encoding="utf-8")


def print_rates(
    console: Console, title: str, compared: Sequence[Compared], threshold: float
) -> None:
    console.print(f"\n{title}", style="bold", markup=False)
    for line in summary(compared, threshold):
        console.print(line, markup=False, highlight=False)
    console.print(table(["threshold", *curve(compared)], curve_rows(compared)))
    console.print(table(GUARDS_HEADING, guard_rows(compared)))
    for each in false_hits(compared, threshold):
        line = f"false: {each.pair.left} | {each.pair.right} ({each.cosine:.3f})"
        console.print(line, markup=False, style="yellow")


def summary(compared: Sequence[Compared], threshold: float) -> list[str]:
    """The two rates at the threshold that is set."""
    found, wrong = hit_rate(compared, threshold), false_hit_rate(compared, threshold)
    return [f"At {threshold}: hit rate {shown(found)}", f"false-hit rate {shown(wrong)}"]


def shown(rate: Rate) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in rate.interval)
    return f"{100 * rate.value:.1f} % ({rate.count} of {rate.of}; 95 %: {low} to {high} %)"


def curve_rows(compared: Sequence[Compared]) -> list[list[str]]:
    columns = zip(*curve(compared).values(), strict=True)
    return [
        [f"{threshold:.2f}", *(f"{value:.3f}" for value in values)]
        for threshold, values in zip(THRESHOLDS, columns, strict=True)
    ]


def guard_rows(compared: Sequence[Compared]) -> list[list[str]]:
    return [[name, *map(str, counts)] for name, counts in guards_used(compared).items()]


def false_hits(compared: Sequence[Compared], threshold: float) -> list[Compared]:
    wrong = [each for each in compared if not each.pair.same and each.hits(threshold)]
    return wrong[:SHOWN_FALSE]


def figures(compared: Sequence[Compared], threshold: float) -> dict[str, Any]:
    """What the JSON file has."""
    found, wrong = hit_rate(compared, threshold), false_hit_rate(compared, threshold)
    return {
        "threshold": threshold,
        **{
            name: {"count": rate.count, "of": rate.of, "rate": rate.value, "ci95": rate.interval}
            for name, rate in (("hits", found), ("false_hits", wrong))
        },
        "thresholds": THRESHOLDS,
        "curve": curve(compared),
        "guards": guards_used(compared),
    }


def page(title: str, compared: Sequence[Compared], threshold: float) -> str:
    """The same as one HTML document with the curve as a plot."""
    heading = ["left", "right", "cosine"]
    wrong = [
        [each.pair.left, each.pair.right, f"{each.cosine:.3f}"]
        for each in false_hits(compared, threshold)
    ]
    marks = [f"{each:.2f}" for each in THRESHOLDS]
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in summary(compared, threshold)),
        "<h2>Rates by threshold</h2>",
        lines("Rates by threshold", curve(compared), 0.0, marks),
        html_table(["threshold", *curve(compared)], curve_rows(compared)),
        "<h2>Guards</h2>",
        html_table(GUARDS_HEADING, guard_rows(compared)),
        *(["<h2>False hits</h2>", html_table(heading, wrong, "words")] if wrong else []),
    ]
    return document(title, sections)
