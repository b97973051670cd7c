"""The soak's row 19 at a small scale: the scenario measures what it says, and finds no fault."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.deployment import deployment
from tests.soak.own_keys.moving import WAYS
from tests.soak.row import Result, Stage
from tests.soak.rows.row_19 import OPEN, ROW, Scale, scenario
from tests.soak.starting import Start


@pytest.fixture
def stage(forked_start: Start) -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-soak-"))
    folder.chmod(0o711)
    yield Stage(1.0, folder, random.Random(1), print, start=forked_start)
    shutil.rmtree(folder)


async def test_every_key_arrives_where_it_was_entered_for_or_nowhere(stage: Stage) -> None:
    scale = Scale(moves=2 * len(WAYS), clients=3, agents=12, rotations=2, swapped=6)
    result = Result(ROW, notes=stage.notes)
    async with deployment(stage, replicas=0, **OPEN) as running:
        async for name, value in scenario(stage, running, scale):
            result.figures[name] = value
    broken = {name for name in ROW.limits if result.verdict(name) != "kept"}
    assert broken == set(), (result.figures, stage.notes)
    assert result.figures["addresses changed"] == 2 * len(WAYS)
