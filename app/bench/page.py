"""Results as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Iterable
from html import escape

from app.bench import plots
from app.bench.results import Outcome, Results
from app.bench.tables import HEADING, facts, missed, outcome_note, rows, summary
from app.evaluation.page import document, html_table

TITLE = "Citestream's benchmarks"
STYLE = (
    plots.STYLE
    + """
@media print {
  :root { color-scheme: light; --text: #000; --soft: #444; --page: #fff; --line: #bbb;
    --c0: #0b62a8; --c1: #b34700 }
  body { max-width: none; margin: 0; font-size: 10pt; print-color-adjust: exact }
  h2, h3 { break-after: avoid } svg, tr { break-inside: avoid } .scroll { overflow: visible }
}
"""
)


def page(results: Results) -> str:
    """The whole document, as UTF-8 text; what names and machines say is escaped."""
    sections = [
        f"<h1>{TITLE}</h1><p>{escape(summary(results))}</p>",
        *_missed(results),
        f'<p class="note">{plots.KEY}</p>',
        *(section for outcome in results.outcomes for section in _bench(outcome)),
        "<h2>The machine</h2>",
        html_table(("what", "is"), facts(results), "words"),
    ]
    return document(TITLE, sections, STYLE)


def _missed(results: Results) -> Iterable[str]:
    lines = [f"<li>{escape(line)}</li>" for line in missed(results)]
    if lines:
        yield f'<h2 class="missed">MISSED</h2><ul>{"".join(lines)}</ul>'


def _bench(outcome: Outcome) -> Iterable[str]:
    yield f"<h2>{escape(outcome.name)}: {escape(outcome.measures)}</h2>"
    yield f'<p class="note">{escape(outcome_note(outcome))}</p>'
    if outcome.error is not None:
        yield f'<p class="missed">{escape(outcome.error)}</p>'
    if outcome.figures:
        # One drawing a figure: a printer breaks a page between them.
        yield "".join(plots.plot(figure.name, [figure]) for figure in outcome.figures)
        yield "<h3>The same as a table</h3>"
        yield html_table(HEADING, rows(outcome.figures))
