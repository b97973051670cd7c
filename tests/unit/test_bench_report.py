"""Files of results, and what is made of them: a page, plots, Markdown."""

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from app.bench.figures import Figure
from app.bench.machine import LIBRARIES, this_machine
from app.bench.markdown import markdown
from app.bench.page import page
from app.bench.plots import LENGTH, plot
from app.bench.results import Outcome, Results, named, read_results, write_results
from app.bench.tables import missed, rows, summary
from app.errors import InvalidInput

FIGURES = [
    Figure("a lone <question> | more", "ms", [1.0, 3.0, 2.0], 2.5),
    Figure("texts a second", "texts/s", [1000.0, 1100.0, 900.0], 1200, "higher"),
    Figure("beside it", "ms", [2.0], yardstick=True),
    Figure("beyond that", "µs", [-1.0, 0.0, 1.0]),
]


def results() -> Results:
    return Results(
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        this_machine(),
        [
            Outcome("cache", "answers & more", 3, 12.34, 0.5, FIGURES),
            Outcome("stream", "tokens", 3, 1.0, 0.5, error="It could <not> start."),
        ],
        "fast",
        {"database": {"pool_size": 20}},
    )


def test_the_file_has_all_and_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_results(file, results())
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]
    assert read_results(file) == Results(
        **{
            **{name: getattr(results(), name) for name in Results.__slots__},
            "outcomes": [
                Outcome("cache", "answers & more", 3, 12.3, 0.5, FIGURES),
                Outcome("stream", "tokens", 3, 1.0, 0.5, [], "It could <not> start."),
            ],
        }
    )


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "1", "{}", '{"format": 0}', '{"format": 1, "began": "now"}',
     '{"bench": "encoder", "machine": "2 cores", "rounds": 5, "figures": []}'],
)  # fmt: skip
def test_what_is_no_file_of_results_is_said(tmp_path: Path, content: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"results\.json"):
        read_results(file)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_results(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("found", "put"),
    [(b'"values": [\n            2.0\n          ]', b'"values": []'), (b'"cores"', b'"corse"')],
)
def test_a_file_that_somebody_has_changed_is_said(tmp_path: Path, found: bytes, put: bytes) -> None:
    file = tmp_path / "results.json"
    write_results(file, results())
    assert found in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(found, put))
    with pytest.raises(InvalidInput, match="is not a file of"):
        read_results(file)


def test_every_figure_gets_a_name_of_its_own() -> None:
    names = ["cached, ours", "  ours / baseline", "relayed, ours", "  ours / baseline", "a", "a"]
    assert [each.name for each in named([Figure(name, "×", [1]) for name in names])] == [
        "cached, ours",
        "cached, ours: ours / baseline",
        "relayed, ours",
        "relayed, ours: ours / baseline",
        "a",
        "a (2)",
    ]


def test_the_machine_says_what_matters_and_nothing_of_whose_it_is() -> None:
    fields = this_machine().fields()
    assert fields["cores"] >= 1 and fields["memory_gb"] > 0.1 and fields["cpu"]
    assert set(fields["servers"]) == {"Postgres", "pgvector", "Valkey"}
    assert all(re.match(r"\d+\.\d+", each) for each in fields["servers"].values())
    assert set(fields["libraries"]) <= set(LIBRARIES) and "asyncpg" in fields["libraries"]
    assert str(Path.home()) not in str(fields)


def test_words_and_rows() -> None:
    made = results()
    assert not made.kept
    assert summary(made).endswith("4 figures, 1 of 2 limits kept. With the profile fast.")
    assert rows(FIGURES)[1] == [
        "texts a second", "1,000", "texts/s", "900 to 1,100", "≥ 1,200", "MISSED",
    ]  # fmt: skip
    assert missed(made) == [
        "cache, texts a second: 1,000 texts/s (900 to 1,100), must be ≥ 1,200",
        "stream: not measured. It could <not> start.",
    ]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    html = page(results())
    assert "<script" not in html
    assert not re.search(r"(?:src|href|url|@import)\s*[=(]", html)
    assert "a lone &lt;question&gt;" in html and "It could &lt;not&gt; start." in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len([ElementTree.fromstring(each) for each in plots]) == len(FIGURES)
    assert html.count(">MISSED<") == 3  # the heading, the plot and the table


def test_a_plot_has_each_round_the_median_and_the_limit_to_scale() -> None:
    drawn = ElementTree.fromstring(plot("Two & two", FIGURES[:1]))
    dots = [float(each.attrib["cx"]) for each in drawn.iter("circle")]
    assert dots == pytest.approx([LENGTH / 3.15, LENGTH / 1.05, 2 * LENGTH / 3.15], abs=0.1)
    kinds = [each.attrib.get("class") for each in drawn.iter("path")]
    assert kinds == ["grid", "limit", "median"]
    shade = next(drawn.iter("rect")).attrib
    assert float(shade["x"]) == pytest.approx(2.5 * LENGTH / 3.15, abs=0.1)
    assert float(shade["x"]) + float(shade["width"]) == pytest.approx(LENGTH, abs=0.1)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [-3.0, -1.0], [1e9]])
def test_a_plot_of_any_values_stays_within_its_axis(values: list[float]) -> None:
    drawn = ElementTree.fromstring(plot("", [Figure("a", "", values, 0)]))
    assert all(0 <= float(each.attrib["cx"]) <= LENGTH for each in drawn.iter("circle"))


def test_markdown_with_a_plot_beside_it_that_stands_alone(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "benchmarks.md"
    made = markdown(results(), file)
    assert [each.name for each in made] == ["benchmarks.md", "benchmarks-cache.svg"]
    text = made[file]
    assert "](benchmarks-cache.svg)" in text and "--markdown docs/benchmarks.md" in text
    assert "| a lone &lt;question> \\| more | 2 | ms | 1 to 3 | ≤ 2.5 | ok |" in text
    assert "**MISSED**" in text and "Not measured: It could &lt;not> start." in text
    assert str(tmp_path) not in text
    picture = ElementTree.fromstring(made[file.with_name("benchmarks-cache.svg")])
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    style = picture.find("{http://www.w3.org/2000/svg}style")
    assert style is not None and "prefers-color-scheme: dark" in (style.text or "")
