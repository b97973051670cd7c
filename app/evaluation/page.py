"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterable, Sequence
from html import escape

from app.evaluation.asking import FUSED
from app.evaluation.report import CUT, Quality, Report, first
from app.evaluation.svg import Bar, bars, lines

# A page is for reading: the JSON has every question.
SHOWN_MISSES = 50
SHOWN_CHARS = 200

# Of a page and of a plot that is a file of its own.
COLOURS = """
:root { color-scheme: light dark; --text: #1c1c1e; --soft: #6b6b70; --page: #fff; --line: #d9d9de;
  --c0: #0b62a8; --c1: #b34700; --c2: #00785a; --c3: #a3427f; --c4: #6b6b70; --c5: #7a6200 }
@media (prefers-color-scheme: dark) { :root { --text: #ececef; --soft: #a0a0a8; --page: #17171a;
  --line: #3a3a40; --c0: #62b0ee; --c1: #f0975a; --c2: #3fc79e; --c3: #e38fc4; --c4: #a0a0a8;
  --c5: #e0c552 } }
"""
STYLE = (
    COLOURS
    + """
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 760px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
.words td { text-align: left; vertical-align: top; overflow-wrap: anywhere }
.note { color: var(--soft) }
svg { width: 100%; height: auto; margin-top: .75rem }
svg text { font-size: 13px; fill: var(--text) }
polyline, svg path { fill: none; stroke-width: 2 }
.grid { stroke: var(--line); stroke-width: 1 } .axis { stroke: var(--soft) }
.c0 { fill: var(--c0) }
"""
    + " ".join(f".l{number} {{ stroke: var(--c{number}) }}" for number in range(6))
)


def page(report: Report) -> str:
    """The whole document, as UTF-8 text; what data sets say is escaped."""
    title = f"Retrieval on {report.dataset}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _facts(report),
        *(f'<p class="note">{escape(note)}.</p>' for note in report.notes),
        "<h2>What is found</h2>",
        html_table(quality_heading(report), quality_rows(report)),
        _ndcg(report),
        "<h2>Recall by the number of documents</h2>",
        _recall(report),
        "<h2>Time of a fused search</h2>",
        html_table(["stage", "p50 ms", "p95 ms"], stage_rows(report)),
        _times(report),
        *_misses(report),
    ]
    return document(title, sections)


def document(title: str, sections: Iterable[str], style: str = "") -> str:
    """A page of these sections, which are HTML already; `style` is added to every page's."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def quality_heading(report: Report) -> list[str]:
    """The columns of the first table, in the terminal too."""
    recalls = [f"recall@{k}" for k in report.cuts]
    return ["source", f"nDCG@{CUT}", f"MRR@{CUT}", *recalls]


def quality_rows(report: Report) -> list[list[str]]:
    """A row a run."""
    return [[run, *_figures(each, report.cuts)] for run, each in report.qualities.items()]


def stage_rows(report: Report) -> list[list[str]]:
    """A row a stage, of the second table."""
    return [[name, f"{s.p50:.1f}", f"{s.p95:.1f}"] for name, s in report.stages.items()]


def _figures(quality: Quality, cuts: Sequence[int]) -> list[str]:
    figures = [quality.ndcg, quality.mrr, *(quality.recall[k] for k in cuts)]
    return [f"{figure:.3f}" for figure in figures]


def _ndcg(report: Report) -> str:
    rows = [
        Bar(run, quality.ndcg, f"{quality.ndcg:.3f}") for run, quality in report.qualities.items()
    ]
    return bars(f"nDCG@{CUT} by source", rows, 1.0)


def _recall(report: Report) -> str:
    series = {run: list(quality.recall.values()) for run, quality in report.qualities.items()}
    worst = min(values[0] for values in series.values())
    return lines("Recall by the number of documents", series, min(0.9, int(worst * 10) / 10))


def _times(report: Report) -> str:
    rows = [
        Bar(name, stage.p50, f"{stage.p50:.1f} to {stage.p95:.1f} ms", stage.p95)
        for name, stage in report.stages.items()
    ]
    slowest = max(stage.p95 for stage in report.stages.values())
    return bars("Milliseconds by stage: p50, the line to p95", rows, slowest)


def _misses(report: Report) -> Iterable[str]:
    missed = report.missed()
    if not missed:
        return
    yield f"<h2>Nothing relevant among the first {CUT}</h2>"
    sources = [run for run in report.qualities if run != FUSED]
    rows = [
        [
            each.query.text[:SHOWN_CHARS],
            *(str(first(each, source) or "–") for source in sources),
        ]
        for each in missed[:SHOWN_MISSES]
    ]
    yield f"<p>{len(missed)} of {len(report.asked)} questions"
    yield "; the numbers are the rank that each source alone gives the first relevant document.</p>"
    yield html_table(["question", *sources], rows, "words")


def spoken(name: str) -> str:
    """A fact's name as a person reads it."""
    return name.replace("_", " ")


def _facts(report: Report) -> str:
    rows = "".join(
        f"<tr><th>{escape(spoken(name))}</th><td>{escape(str(fact))}</td></tr>"
        for name, fact in report.facts.items()
    )
    return f'<div class="scroll"><table class="words">{rows}</table></div>'


def html_table(heading: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Cells are escaped; `kind` is a class of the style sheet."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
