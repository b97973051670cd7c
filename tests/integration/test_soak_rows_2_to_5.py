"""The soak's rows 2 to 5 at a small scale: what is cancelled, left, cut or lost, and what is kept.

What a row says of times is the full form's: here the machine is everybody's.
"""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.soak.deployment import Deployment, deployment
from tests.soak.row import Figures, Result, Row, Stage
from tests.soak.rows import row_02, row_03, row_04, row_05

TIMES = ("ms ", "seconds ")
VARIABLES = {**row_04.VARIABLES, "CITESTREAM_DRAIN_SECONDS": "1"}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Deployment]:
    """Two replicas with stores of their own: what is counted is nobody else's."""
    folder = Path(tempfile.mkdtemp(prefix="citestream-rows-2-to-5-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as a user who must get through
    stage = Stage(1.0, folder, random.Random(1), lambda _: None)
    try:
        async with deployment(stage, replicas=2, **VARIABLES) as made:
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def stage(running: Deployment) -> Stage:
    return Stage(1.0, running.stage.folder, random.Random(1), lambda _: None)


async def kept(row: Row, stage: Stage, figures: Figures) -> Result:
    """The result, once every limit but those of times was found to be kept."""
    result = Result(row, notes=stage.notes)
    async for name, value in figures:
        result.figures[name] = value
    limits = [name for name in row.limits if not name.startswith(TIMES)]
    assert {each for each in limits if result.verdict(each) != "kept"} == set(), stage.notes
    return result


async def test_cancelled_calls_never_hand_out_what_is_another_tenants(
    running: Deployment, stage: Stage
) -> None:
    scale = row_02.Scale(cancels=row_02.FEWEST, tenants=8)
    await kept(row_02.ROW, stage, row_02.scenario(stage, running, scale))


async def test_leaving_stops_the_spending_and_keeps_what_there_is(
    running: Deployment, stage: Stage
) -> None:
    scale = row_03.Scale(cuts=row_03.FEWEST_CUTS)
    result = await kept(row_03.ROW, stage, row_03.scenario(stage, running, scale))
    assert stage.notes[-1].startswith("Cut: closed 1"), result.notes


async def test_a_cut_answer_fails_and_is_neither_cached_nor_asked_for_again(
    running: Deployment, stage: Stage
) -> None:
    await kept(row_04.ROW, stage, row_04.scenario(stage, running, row_04.FEWEST_CUTS))


async def test_a_dropped_stream_goes_on_elsewhere_and_a_lost_piece_is_told(
    running: Deployment, stage: Stage
) -> None:
    scale = row_05.Scale(rounds=1, every=8, clients=10)
    await kept(row_05.ROW, stage, row_05.scenario(stage, running, scale))
