"""The soak's rows 2 to 7 and 12 at a small scale, on servers of their own: what is cancelled, left,
cut, lost, asked by many, killed or changed, and what is kept and told of it.

What a row says of times is the full form's: here the machine is everybody's.
"""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.soak.deployment import Deployment, beside, deployment
from tests.soak.provider import words_of
from tests.soak.row import Figures, Result, Row, Stage
from tests.soak.rows import row_02, row_03, row_04, row_05, row_06, row_07, row_12
from tests.soak.starting import Start

TIMES = ("ms ", "seconds ")
VARIABLES = {**row_04.VARIABLES, "CITESTREAM_DRAIN_SECONDS": "1"}
# The encoder that deployments have for documents hears words and no meaning, as the one of row
# 12's full form does.
BY_MEANING = {
    "CITESTREAM_FEATURES__VECTOR": "true",
    "CITESTREAM_FEATURES__SEMANTIC_CACHE": "true",
}


@pytest.fixture(scope="module")
async def served(forked_start: Start) -> AsyncIterator[Deployment]:
    """Two replicas with stores of their own: what is counted is nobody else's."""
    folder = Path(tempfile.mkdtemp(prefix="citestream-rows-2-to-12-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as a user who must get through
    stage = Stage(1.0, folder, random.Random(1), lambda _: None, start=forked_start)
    try:
        async with deployment(stage, replicas=2, **VARIABLES) as made:
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def left(served: Deployment) -> Deployment:
    """With the replicas that were not killed before, and a model that pauses nowhere."""
    served.replicas[:] = [each for each in served.replicas if each.process.returncode is None]
    provider = served.provider
    provider.first_token_seconds = provider.token_seconds = 0.0
    provider.cut_after_bytes, provider.reply = None, words_of
    return served


@pytest.fixture
async def running(left: Deployment) -> Deployment:
    """With two replicas."""
    await left.start_replicas(2 - len(left.replicas))
    return left


@pytest.fixture
def stage(served: Deployment) -> Stage:
    return Stage(1.0, served.stage.folder, random.Random(1), lambda _: None)


async def kept(row: Row, stage: Stage, figures: Figures) -> Result:
    """The result, once every limit but those of times was found to be kept."""
    result = Result(row, notes=stage.notes)
    async for name, value in figures:
        result.figures[name] = value
    limits = [name for name in row.limits if not name.startswith(TIMES)]
    broken = {each for each in limits if result.verdict(each) != "kept"}
    assert broken == set(), (result.figures, stage.notes)
    return result


async def test_cancelled_calls_never_hand_out_what_is_another_tenants(
    running: Deployment, stage: Stage
) -> None:
    scale = row_02.Scale(cancels=row_02.FEWEST, tenants=8)
    await kept(row_02.ROW, stage, row_02.scenario(stage, running, scale))


async def test_leaving_stops_the_spending_and_keeps_what_there_is(
    running: Deployment, stage: Stage
) -> None:
    scale = row_03.Scale(cuts=row_03.FEWEST_CUTS, clients=12)
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


async def test_the_same_question_is_paid_once_by_two_workers(
    running: Deployment, stage: Stage
) -> None:
    scale = row_06.Scale(
        crowd=24,
        workers=2,
        rushes=1,
        leavings=2,
        kills=2,
        followers=8,
        patient_seconds=1.0,
        slow_token_seconds=0.05,
    )
    result = await kept(row_06.ROW, stage, row_06.scenario(stage, running, scale))
    assert result.figures["leaders killed"] == 2


async def test_a_request_whose_process_was_killed_is_one_message(
    left: Deployment, stage: Stage
) -> None:
    # The first one's answer is waited for while the next victim starts.
    moments = ("behind SELECT store_turn", "behind SELECT * FROM begin_turn")
    scale = row_07.Scale(only=moments, aged=True, settled_seconds=0.0)
    result = await kept(row_07.ROW, stage, row_07.scenario(stage, left, scale))
    assert result.figures["processes killed"] == 2


async def test_no_answer_is_stale_however_asking_and_changing_meet(
    left: Deployment, stage: Stage
) -> None:
    scale = row_12.Scale(interleavings=16, rooms=2, clients=4)
    async with beside(left, 2, **BY_MEANING) as running:
        result = await kept(row_12.ROW, stage, row_12.scenario(stage, running, scale))
    assert result.figures["interleavings"] == 16
