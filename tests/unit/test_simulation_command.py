"""`citestream simulate` as it is called."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from app.bench.figures import Figure
from app.bench.machine import this_machine
from app.bench.results import Outcome, Results, write_results
from app.cli import app
from app.simulation.costs import SHIPPED
from app.simulation.service import TIERS

WIDE = {"COLUMNS": "200"}


def called(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["simulate", *arguments], env=WIDE)
    return done.exit_code, done.stdout, done.stderr


def test_what_a_load_needs() -> None:
    status, said, _ = called("--questions-per-second", "50", "--questions", "200")
    assert status == 0
    assert "needed for 50/s" in said
    assert "saturates first, at " in said
    assert all(f"│ {tier}" in said for tier in TIERS)
    assert "│ 50.0" in said


def test_fewer_than_are_needed_is_said() -> None:
    options = ("--questions-per-second", "500", "--questions", "0", "--replicas", "api=1, model=99")
    status, said, _ = called(*options)
    assert status == 0
    assert "api saturates first, at " in said
    assert "That is less than the 500 a second asked for." in said
    assert "First token" not in said


def test_plots_are_files_of_their_own(tmp_path: Path) -> None:
    options = ("--questions", "100", "--answer-tokens", "8", "--plot", str(tmp_path))
    status, said, _ = called(*options)
    assert status == 0
    names = ["latency", "machines", "tiers", "utilisation"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"scaling-{n}.svg" for n in names]
    for file in tmp_path.iterdir():
        drawn = ElementTree.fromstring(file.read_text())
        assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in file.read_text()
        assert f"Written: {file}" in said


def test_without_a_simulation_two_plots_are_left(tmp_path: Path) -> None:
    status, _, _ = called("--questions", "0", "--plot", str(tmp_path))
    assert (status, len([*tmp_path.iterdir()])) == (0, 2)


def test_the_benches_once_more() -> None:
    status, said, _ = called("--check")
    assert status == 0
    assert "new answers, 16 clients" in said
    assert "82.6 /s" in said
    assert "One machine of 2 cores" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--replicas", "database=3"], "'database' is no tier; there are nginx, api"),
        (["--replicas", "api=many"], "How many of api? Write api=4"),
        (["--replicas", "api=0"], "How many of api?"),
        (["--plot", "/nowhere/at/all"], "/nowhere/at/all is no folder"),
        (["--costs", "/nowhere.json"], "/nowhere.json cannot be read."),
        (["--questions-per-second", "100000"], "Simulate one of several installations"),
    ],
)
def test_what_cannot_be_is_a_sentence(options: list[str], sentence: str) -> None:
    status, _, said = called(*options)
    assert (status, said.startswith("citestream: ")) == (2, True)
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "options", [["--hit-rate", "2"], ["--answer-tokens", "0"], ["--cores", "x"]]
)
def test_numbers_out_of_their_range_are_refused(options: list[str]) -> None:
    status, _, said = called(*options)
    assert status == 2
    assert options[0] in said


def results(file: Path, figures: list[Figure]) -> Path:
    outcome = Outcome("memory", "", 1, 1.0, 0.0, figures)
    write_results(file, Results(datetime(2026, 1, 2, tzinfo=UTC), this_machine(), [outcome]))
    return file


def test_costs_of_another_machine(tmp_path: Path) -> None:
    source = SHIPPED["token_alone"]
    file = results(tmp_path / "r.json", [Figure(source.figure, source.unit, [10_000.0])])
    status, said, _ = called("--questions", "0", "--replicas", "api=1", "--costs", str(file))
    assert status == 0
    assert "so as shipped: tiers: " in said
    assert "api saturates first, at 0.7" in said


def test_a_file_without_any_of_them(tmp_path: Path) -> None:
    file = results(tmp_path / "r.json", [Figure("something else", "ms", [1.0])])
    status, _, said = called("--costs", str(file))
    assert status == 2
    assert "has none of the figures that are needed" in said
