"""`citestream eval`: how well retrieval finds what a data set says it should."""

import asyncio
import os
import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from app.bootstrap import Settings, build_services, connected
from app.chat.language import normalise_language
from app.commands.portfolios import portfolio_named
from app.commands.progress import progress
from app.errors import InvalidInput
from app.evaluation.asking import FUSED, Plan, ask
from app.evaluation.dataset import Dataset
from app.evaluation.loading import load
from app.evaluation.page import page, quality_heading, quality_rows, spoken, stage_rows
from app.evaluation.reading import read_dataset
from app.evaluation.report import CUT, Report, summarise
from app.retrieval.sources import DOMAIN, KNOWN_SOURCES, PERSONA

# Kept between runs, so that the second one on the same data indexes nothing.
SCRATCH = "~/.cache/citestream/eval"
# Several chunks of a document count once: with twice as many passages as documents are looked at,
# there are nearly always enough of them.
PASSAGES_PER_DOCUMENT = 2
# Alone they find nothing: a data set has neither an agent's voice nor pairs of a glossary.
EMPTY = (PERSONA, DOMAIN)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was called with. `data` and `portfolio` None: the scratch folder, and a
    portfolio of the data set's own."""

    dataset: Path
    cuts: Sequence[int]
    sources: Sequence[str] | None
    limit: int | None
    language: str | None
    data: Path | None
    portfolio: str | None
    output: Path | None
    html: Path | None


async def evaluate(options: Options) -> None:
    """Load, ask, print; raises AppError for what is wrong before anything slow starts."""
    settings = place(Settings(), options.data, options.portfolio)
    plan = make_plan(options, settings)
    for file in (options.output, options.html):
        check_writable(file)
    dataset = await asyncio.to_thread(read_dataset, options.dataset, options.limit)
    console = Console()
    report = await _measure(settings, dataset, options, plan, console)
    print_report(console, report)
    if options.output is not None:
        fields = orjson.dumps(report.fields(), option=orjson.OPT_INDENT_2)
        await asyncio.to_thread(options.output.write_bytes, fields)
    if options.html is not None:
        await asyncio.to_thread(options.html.write_text, page(report), encoding="utf-8")


def place(settings: Settings, data: Path | None, portfolio: str | None) -> Settings:
    """Where to measure: a folder that is named, the configured servers for a portfolio that is
    named, else the scratch folder."""
    if data is None and portfolio:
        return settings
    folder = data or Path(SCRATCH).expanduser()
    return settings.model_copy(update={"data": folder, "database_url": None, "redis_url": None})


def make_plan(options: Options, settings: Settings) -> Plan:
    """Raises InvalidInput for a source, a k or a language that cannot be."""
    highest = settings.retrieval.max_top_k
    deepest = max(*options.cuts, CUT)
    if not 1 <= min(options.cuts) <= deepest <= highest:
        raise InvalidInput(f"--k takes whole numbers from 1 to {highest}.")
    language = normalise_language(options.language) if options.language else None
    if options.language and language is None:
        raise InvalidInput(f"{options.language!r} is not a language's code, as en or es.")
    on = [name for name in KNOWN_SOURCES if getattr(settings.features, name)]
    if options.sources is not None:
        check_sources(options.sources, on)
    return Plan(
        options.sources or [name for name in on if name not in EMPTY],
        options.sources,
        min(PASSAGES_PER_DOCUMENT * deepest, highest),
        language,
    )


def check_sources(names: Sequence[str], on: Collection[str]) -> None:
    for name in names:
        if name not in on:
            raise InvalidInput(f"{name!r} is not a source that is on; those are {', '.join(on)}.")


def check_writable(file: Path | None) -> None:
    """Raise InvalidInput for a file that could not be written in the end."""
    if file is None:
        return
    if file.is_dir() or not file.parent.is_dir():
        raise InvalidInput(f"{file} cannot be written: name a file in a folder that exists.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidInput(f"{file} cannot be written: you may not write there.")


async def _measure(
    settings: Settings, dataset: Dataset, options: Options, plan: Plan, console: Console
) -> Report:
    name = options.portfolio or f"eval {dataset.name[:100]} {dataset.fingerprint[:12]}"
    asked = []
    with progress(console) as bar:
        task = bar.add_task("Starting", total=len(dataset.documents))
        async with (
            connected(settings, lambda line: bar.update(task, description=line)) as live,
            build_services(live) as services,
        ):
            scope = await services.credentials.default_scope()
            portfolio_id = await portfolio_named(services, scope, name)
            bar.update(task, description="Indexing")
            loaded = await load(
                services, scope, portfolio_id, dataset, lambda count: bar.advance(task, count)
            )
            bar.update(task, description="Indexed")
            task = bar.add_task("Asking", total=len(dataset.queries))
            async for each in ask(services.retriever, scope, loaded, dataset.queries, plan):
                asked.append(each)
                bar.advance(task)
            bar.update(task, description="Asked")
            encodings = services.encoders.statistics()
            facts = {
                "portfolio": name,
                "documents": len(loaded.ids),
                "indexed_now": loaded.indexed,
                # A vector that is remembered from an earlier run makes the times shorter.
                "vectors_encoded": encodings["encoded"],
                "vectors_remembered": encodings["shared_hits"],
                "passages_asked_for": plan.top_k,
                "machine": machine(),
            }
    return summarise(dataset.name, asked, options.cuts, facts, dataset.notes)


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def print_report(console: Console, report: Report) -> None:
    """The tables, and what to know about them."""
    console.print(f"\n{report.dataset}", style="bold", markup=False)
    console.print(table(quality_heading(report), quality_rows(report)))
    console.print(table(["stage of fused", "p50 ms", "p95 ms"], stage_rows(report)))
    for name, fact in report.facts.items():
        console.print(f"{spoken(name)}: {fact}", markup=False, style="dim", highlight=False)
    for note in [*report.notes, *warnings(report)]:
        console.print(f"{note}.", markup=False, style="yellow")


def warnings(report: Report) -> list[str]:
    """What makes a figure other than it seems."""
    count = len(report.asked)
    lines = []
    for run, quality in report.qualities.items():
        if quality.degraded:
            lines.append(f"{run}: {quality.degraded} of {count} questions were degraded")
        if quality.silent == count and run != FUSED:
            lines.append(f"{run}: found nothing for any question")
    return lines


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    drawn = Table()
    for place, name in enumerate(heading):
        drawn.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    return drawn
