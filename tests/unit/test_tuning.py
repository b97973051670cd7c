"""What is measured becomes a profile that says what it was measured by."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app as cli
from app.commands.tune import tune
from app.errors import InvalidInput
from app.profiles import read_profile
from app.tuning.findings import (
    Finding,
    local_mb,
    most_connections,
    profile,
    smallest_as_good,
    told,
    was_compared,
)
from app.tuning.measuring import Subject, measure
from app.tuning.patience import Patience

SUBJECT = Subject(cores=2, memory_mb=4096, model="none", backend="onnx", cache="none")
WHEN = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({1: 100.0, 2: 104.0, 4: 90.0}, 1),  # the same within what seconds can tell
        ({1: 100.0, 2: 150.0, 4: 155.0}, 2),
        ({1: 100.0, 2: 150.0, 4: 190.0}, 4),
        ({4: 1.0}, 4),
    ],
)
def test_the_smallest_that_is_as_good_as_the_best(measured: dict[int, float], chosen: int) -> None:
    assert smallest_as_good(measured) == chosen


@pytest.mark.parametrize(
    ("measured", "tried", "compared"),
    [
        ({}, [5, 10, 20], False),
        ({5: 9.0}, [5, 10, 20], False),
        ({5: 9.0, 10: 8.0}, [5, 10, 20], True),
        ({3: 9.0}, [3], True),  # all that fits
        ({}, [3], False),
    ],
)
def test_one_alone_is_compared_with_nothing(
    measured: dict[int, float], tried: list[int], compared: bool
) -> None:
    assert was_compared(measured, tried) is compared


@pytest.mark.parametrize(
    ("memory_mb", "workers", "megabytes"), [(256, 1, 4), (4096, 2, 20), (65536, 4, 64)]
)
def test_answers_at_hand_take_a_hundredth_of_the_memory(
    memory_mb: int, workers: int, megabytes: int
) -> None:
    assert local_mb(memory_mb, workers) == megabytes


def test_all_pools_together_leave_connections_to_others() -> None:
    for workers in (1, 2, 8, 16):
        assert workers * most_connections(100, workers) * 1.5 <= 80
    assert most_connections(100, 64) == 2


def test_a_profile_has_each_value_below_what_was_measured_for_it(tmp_path: Path) -> None:
    found = [
        Finding("", "workers", 2, f"Answers: {told({1: 61.23, 2: 119.96}, '/s')}."),
        Finding("retrieval", "hnsw_ef_search", 40, "Recall. " * 40),
        Finding("database", "pool_size", 5, "Answers."),
        Finding("retrieval", "exact_below_chunks", 500, "Times."),
    ]
    text = profile("a machine: with 2 cores", WHEN, found)
    assert "# Answers: 1: 61.2/s, 2: 120/s.\nworkers: 2\n" in text
    assert max(map(len, text.splitlines())) <= 98
    file = tmp_path / "measured.yaml"
    file.write_text(text)
    assert read_profile(file).values == {
        "workers": 2,
        "retrieval": {"hnsw_ef_search": 40, "exact_below_chunks": 500},
        "database": {"pool_size": 5},
    }


async def test_without_time_there_is_still_a_profile(tmp_path: Path) -> None:
    said: list[str] = []
    found = await measure(SUBJECT, tmp_path, Patience(0), said.append)
    assert [(each.section, each.name, each.value) for each in found] == [("cache", "local_mb", 40)]
    file = tmp_path / "measured.yaml"
    file.write_text(profile("a machine", WHEN, found))
    assert read_profile(file).values == {"cache": {"local_mb": 40}}
    assert said[-1] == (
        "There is no time left: what was not measured stays as shipped: "
        "cpu_threads, batch_tokens, hnsw_ef_search, workers, pool_size."
    )


async def test_a_profile_of_nothing_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    with pytest.raises(InvalidInput, match=r"nothing could be measured.*--minutes\."):
        await tune(file, 0, lambda _: None)
    assert not file.exists()


def test_too_little_time_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    refused = CliRunner().invoke(cli, ["tune", "--minutes", "0.9", "--output", str(file)])
    assert refused.exit_code == 2
    assert "greater than or equal to 1" in " ".join(refused.output.replace("│", " ").split())
    assert not file.exists()


def test_patience_ends() -> None:
    now = [10.0]
    patience = Patience(5, lambda: now[0])
    assert patience.has(5) and not patience.has(5.1)
    now[0] = 14.0
    assert patience.left() == 1
    now[0] = 20.0
    assert patience.left() == 0 and patience.has(0)
