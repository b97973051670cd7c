"""The soak's rows 6, 7 and 12 at a small scale, on one deployment: the scenarios measure what they
say, and find no fault."""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.soak.deployment import Deployment, deployment
from tests.soak.row import Figures, Result, Row, Stage
from tests.soak.rows import row_06, row_07, row_12


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-soak-"))
    folder.chmod(0o711)
    yield Stage(1.0, folder, random.Random(1), print)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def running(stage: Stage) -> AsyncIterator[Deployment]:
    async with deployment(stage, replicas=2, encoder=True) as started:
        yield started


async def kept(stage: Stage, row: Row, figures: Figures) -> Result:
    result = Result(row, notes=stage.notes)
    async for name, value in figures:
        result.figures[name] = value
    broken = {name for name in row.limits if result.verdict(name) != "kept"}
    assert broken - {row_06.REPLACED} == set(), (result.figures, stage.notes)
    return result


async def test_no_answer_is_stale_however_asking_and_changing_meet(
    stage: Stage, running: Deployment
) -> None:
    scale = row_12.Scale(interleavings=16, rooms=2, clients=4)
    result = await kept(stage, row_12.ROW, row_12.scenario(stage, running, scale))
    assert result.figures["interleavings"] == 16


async def test_the_same_question_is_paid_once_by_two_workers(
    stage: Stage, running: Deployment
) -> None:
    scale = row_06.Scale(
        crowd=24, workers=2, rushes=1, leavings=2, kills=2, followers=8, patient_seconds=1.0
    )
    result = await kept(stage, row_06.ROW, row_06.scenario(stage, running, scale))
    assert result.figures["leaders killed"] == 2


async def test_a_request_whose_process_was_killed_is_one_message(
    stage: Stage, running: Deployment
) -> None:
    moments = ("behind SELECT * FROM begin_turn", "behind SELECT store_turn")
    scale = row_07.Scale(only=moments, aged=True, settled_seconds=0.0)
    result = await kept(stage, row_07.ROW, row_07.scenario(stage, running, scale))
    assert result.figures["processes killed"] == 2
