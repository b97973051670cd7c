"""`citestream bench compare` and `bench report`: what becomes of files of results."""

from collections.abc import Sequence
from math import isinf
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.bench.comparing import CHANGE, LEVEL, Compared, Comparison, Verdict, compare
from app.bench.markdown import markdown
from app.bench.page import page
from app.bench.results import read_results
from app.bench.tables import HEADING, missed, outcome_note, rows, summary
from app.commands.evaluate import check_writable

CHANGES = ("figure", "then", "now", "change", "")
WORDS: dict[Verdict, str] = {"worse": "worse", "better": "better", "yardstick": "the machine"}


def compare_files(old: Path, new: Path, console: Console) -> bool:
    """Print what changed beyond noise; True where nothing of it is worse. Raises InvalidInput."""
    comparison = compare(read_results(old), read_results(new))
    for note in comparison.notes:
        console.print(note, style="dim", markup=False, highlight=False)
    changed = [each for verdict in WORDS for each in comparison.of(verdict)]
    if changed:
        console.print(_table(CHANGES, [_change(each) for each in changed]))
    for line in _counts(comparison):
        console.print(line, markup=False, highlight=False)
    return not comparison.of("worse")


def report(file: Path, page_file: Path | None, html: Path | None, console: Console) -> None:
    """Write results as a page of the documentation with its plots, or as HTML; with neither, print
    them. Raises InvalidInput."""
    results = read_results(file)
    for each in (page_file, html):
        check_writable(each)
    if page_file is not None:
        made = markdown(results, page_file)
        for path, content in made.items():
            path.write_text(content, encoding="utf-8")
    if html is not None:
        html.write_text(page(results), encoding="utf-8")
    if page_file is None and html is None:
        console.print(summary(results), markup=False, highlight=False)
        for outcome in results.outcomes:
            console.print(f"\n{outcome.name}: {outcome_note(outcome)}", style="bold", markup=False)
            console.print(_table(HEADING, rows(outcome.figures)))
        for line in missed(results):
            console.print(f"MISSED {line}", style="red", markup=False, highlight=False)


def _table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """The figures' names are what is wrapped where a terminal is narrow."""
    drawn = Table()
    for name in heading:
        named = name in ("figure", "")
        drawn.add_column(name, justify="left" if named else "right", no_wrap=name != "figure")
    for line in lines:
        style = "red" if "MISSED" in line[-1] or "worse" in line[-1] else ""
        drawn.add_row(*map(Text, line), style=style)
    return drawn


def _change(compared: Compared) -> list[str]:
    old, new = compared.old, compared.new
    share = "from 0" if isinf(compared.change) else f"{100 * compared.change:+.0f} %"
    return [
        f"{compared.bench}: {new.name}",
        f"{old.amount}\n{old.spread}",
        f"{new.amount}\n{new.spread}",
        share,
        WORDS[compared.verdict] + ("\nMISSED" if new.reached is False else ""),
    ]


def _counts(comparison: Comparison) -> list[str]:
    """How many of each kind, and by what they were told apart."""
    kinds: tuple[Verdict, ...] = (*WORDS, "same", "one value")
    count = {kind: len(comparison.of(kind)) for kind in kinds}
    lines = [
        f"{len(comparison.figures)} figures: {count['worse']} worse, {count['better']} better, "
        f"{count['same']} within noise, {count['one value']} of one value that cannot be told, "
        f"{count['yardstick']} of the machine's own that changed.",
        f"A change is one by the rank-sum test at {LEVEL:.0%}, and of {CHANGE:.0%} or more.",
    ]
    for where, names in (("then", comparison.only_old), ("now", comparison.only_new)):
        if names:
            lines.append(f"Measured only {where}: {'; '.join(names)}.")
    return lines
