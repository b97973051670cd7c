"""The soak's row 21 at a small scale: poisoned documents in a real Chromium, of which nothing runs,
loads or leads anywhere unsaid; and bombs, which are refused while questions are answered."""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.soak.deployment import Deployment, deployment
from tests.soak.poison.bombs import QUICK, bombs
from tests.soak.poison.documents import POISONS
from tests.soak.poison.visitor import ANSWERED
from tests.soak.row import Figures, Stage
from tests.soak.rows.row_21 import ROW, shown, thrown
from tests.soak.unhurried import UNHURRIED


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-row-21-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as a user who must get through
    stage = Stage(1.0, folder, random.Random(1), lambda _: None)
    try:
        async with deployment(stage, replicas=1, **UNHURRIED) as made:
            yield made
    finally:
        shutil.rmtree(folder)


async def figures_of(stage: Stage, figures: Figures) -> dict[str, float]:
    """All of them; those that have a limit keep it, but for times, which are the full form's."""
    found = {name: value async for name, value in figures}
    limits = {name: ROW.limits[name] for name in found.keys() & ROW.limits.keys()}
    broken = {name for name, limit in limits.items() if not limit.allows(found[name])}
    assert {name for name in broken if not name.startswith("seconds")} == set(), stage.notes
    return found


async def test_nothing_of_a_poisoned_document_runs_or_loads(running: Deployment) -> None:
    count = len(POISONS)
    assert count >= 40
    found = await figures_of(running.stage, shown(running.stage, running, count))
    assert found[ANSWERED] == 2 * count


async def test_bombs_are_refused_while_questions_are_answered(running: Deployment) -> None:
    """The quick ones; row 21 throws two hundred."""
    made = bombs(QUICK, running.stage.chance)
    found = await figures_of(running.stage, thrown(running.stage, running, made))
    assert found["bombs"] == len(QUICK)
