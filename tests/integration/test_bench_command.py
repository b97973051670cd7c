"""`citestream bench` as a user starts it: measured, written, reported and compared."""

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli import app
from tests.support.command import environment, output_of


def called(*arguments: object) -> tuple[int, str]:
    """What needs no process of its own: `bench` with these, its exit status and its output."""
    outcome = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    return outcome.exit_code, outcome.output


async def test_a_bench_from_its_name_to_its_report(tmp_path: Path) -> None:
    env, old, new = environment(tmp_path / "data"), tmp_path / "old.json", tmp_path / "new.json"
    status, printed = await output_of(
        "bench", "monitor", "--rounds", "1", "--output", str(old), env=env
    )
    fields = json.loads(old.read_text())
    figures = fields["benches"][0]["figures"]
    kept = all(each["reached"] is not False for each in figures)
    assert status == (0 if kept else 1), printed
    assert "[1/1] monitor: " in printed and figures[0]["name"] in printed
    assert "<svg" in (tmp_path / "old.html").read_text()
    # How fast the monitor is, is the bench's to say; that it measures what it says, this test's.
    by_name = {each["name"]: each for each in figures}
    assert len([each for each in figures if each["limit"] is not None]) == 6
    assert all(value > 0 for each in figures for value in each["values"])
    assert by_name["memory of 10,000 operations"]["reached"]

    status, printed = called("compare", old, old)
    assert (status, "0 worse, 0 better" in printed) == (0, True), printed
    for each in figures:
        each["values"] = [1000 * (value + 1) for value in each["values"]]
    new.write_text(json.dumps(fields))
    status, printed = called("compare", old, new)
    assert (status, "MISSED" in printed) == (1, True), printed

    page = tmp_path / "benchmarks.md"
    assert called("report", old, "--markdown", page)[0] == 0
    assert "](benchmarks-monitor.svg)" in page.read_text()
    assert (tmp_path / "benchmarks-monitor.svg").read_text().startswith("<svg xmlns=")
