"""One way for every bench: what is written, what is told, and what goes on when one fails."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bench.corpus import CHUNKS as CORPUS_CHUNKS
from app.bench.figures import Figure
from app.bench.registry import ALL, BENCHES, CHUNKS, Bench, Task, chosen, listed
from app.bench.results import read_results
from app.bench.workers import WorkerFailed
from app.cli import app
from app.commands.bench import Options, run_benches
from app.errors import InvalidInput
from app.settings import ConfigurationError

OPTIONS = Options(None, None, None, None, None)


async def works(task: Task) -> list[Figure]:
    assert task.folder.is_dir()
    pool = task.setting("database", "pool_size", 10)
    assert task.variables.get("CITESTREAM_DATABASE__POOL_SIZE", "10") == str(pool)
    assert bool(task.encoder) == bool(task.profile)
    return [Figure("pool", "", [pool] * task.rounds, 15), Figure("  again", "", [1])]


async def fails(task: Task) -> list[Figure]:
    raise WorkerFailed("The worker said why.")


async def lacks(task: Task) -> list[Figure]:
    raise ModuleNotFoundError("No module named 'missing.part'", name="missing.part")


async def breaks(task: Task) -> list[Figure]:
    raise ZeroDivisionError


WORKS = Bench("works", "a number", (), 0.1, works)
FAILS = Bench("fails", "nothing", (), 2, fails, takes_profile=False)


def test_names() -> None:
    assert [each.name for each in chosen(["stream", "cache", "stream"])] == ["stream", "cache"]
    assert chosen([ALL]) == chosen(["cache", ALL]) == [*BENCHES.values()]
    with pytest.raises(KeyError, match="typo"):
        chosen(["typo"])
    assert all(f"\n{name} " in f"\n{listed()}" for name in [*BENCHES, ALL])
    assert max(map(len, listed().splitlines())) <= 78
    assert CHUNKS == CORPUS_CHUNKS


async def test_one_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    lines: list[str] = []
    options = replace(OPTIONS, output=tmp_path / "results.json")
    assert not await run_benches([FAILS, WORKS], options, lines.append)
    failed, done = read_results(tmp_path / "results.json").outcomes
    assert (failed.error, failed.figures) == ("The worker said why.", [])
    assert [each.name for each in done.figures] == ["pool", "pool: again"]
    assert done.rounds == len(done.figures[0].values) == 5
    assert "<svg" in (tmp_path / "results.html").read_text()
    assert "[1/2] fails: nothing" in "\n".join(lines)
    assert "fails: not measured. The worker said why." in lines
    assert "2 benches, about 2 min on an idle machine." in lines


async def test_a_package_that_is_missing_is_named() -> None:
    lines: list[str] = []
    assert not await run_benches([replace(FAILS, run=lacks)], OPTIONS, lines.append)
    assert any("It needs the package missing, which is not installed." in each for each in lines)


async def test_what_nobody_expected_leaves_what_was_measured_before(tmp_path: Path) -> None:
    options = replace(OPTIONS, output=tmp_path / "o.json", html=tmp_path / "other.html")
    with pytest.raises(ZeroDivisionError):
        await run_benches([WORKS, replace(FAILS, run=breaks)], options, lambda _: None)
    assert [each.name for each in read_results(tmp_path / "o.json").outcomes] == ["works"]
    assert {each.name for each in tmp_path.iterdir()} == {"o.json", "other.html"}


async def test_a_profile_reaches_what_is_measured(tmp_path: Path) -> None:
    config, output, lines = tmp_path / "big.yaml", tmp_path / "o.json", list[str]()
    config.write_text("database: {pool_size: 20}")
    options = replace(OPTIONS, rounds=2, output=output, config=config)
    assert not await run_benches([WORKS], options, lines.append)  # 20 is above its limit
    results = read_results(output)
    assert (results.profile, results.settings) == ("big", {"database": {"pool_size": 20}})
    assert results.outcomes[0].figures[0].values == [20, 20]
    assert "works, pool: 20 (20 to 20), must be ≤ 15" in lines
    assert not any("as shipped" in line for line in lines)
    await run_benches([FAILS], replace(options, output=None), lines.append)
    assert "fails is measured as shipped: it takes nothing from a profile." in lines


async def test_what_is_wrong_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    nowhere, config = tmp_path / "none" / "o.json", tmp_path / "bad.yaml"
    config.write_text("databse: 1")
    lines: list[str] = []
    with pytest.raises(InvalidInput, match="cannot be written"):
        await run_benches([WORKS], replace(OPTIONS, output=nowhere), lines.append)
    with pytest.raises(ConfigurationError, match="did you mean database"):
        await run_benches([WORKS], replace(OPTIONS, config=config), lines.append)
    assert lines == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("typo",), 2, "'typo' is no bench"),
        (("compare", "none.json", "none.json"), 2, "none.json cannot be read."),
        (("report", "none.json"), 2, "none.json cannot be read."),
        (("--help",), 0, "beside a bare route"),
        (("run", "--help"), 0, "beside a bare route"),
    ],
)
def test_a_wrong_call_is_told_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(app, ["bench", *arguments])
    assert (outcome.exit_code, said in outcome.output) == (status, True), outcome.output
