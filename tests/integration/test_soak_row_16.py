"""The soak's row 16 at a small scale: the scenario measures what it says, and finds no fault."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.embedded import Servers
from app.stores.migrate import upgrade
from tests.soak.every_match.shelves import PORTFOLIOS, sizes
from tests.soak.row import Result, Stage
from tests.soak.rows.row_16 import CHUNKS, ROW, Scale, scenario


def test_a_million_chunks_in_a_thousand_portfolios_some_tiny_some_huge() -> None:
    full = sizes(CHUNKS)
    assert len(full) == PORTFOLIOS
    assert abs(sum(full) - CHUNKS) < CHUNKS / 100
    assert (full[0] > 100_000, full[-1] < 100) == (True, True)


async def test_a_few_thousand_chunks(
    fresh_database: Callable[[], Awaitable[Servers]], tmp_path: Path
) -> None:
    servers = await fresh_database()
    await upgrade(servers.owner_url)
    said: list[str] = []
    stage = Stage(1.0, tmp_path, random.Random(1), said.append)
    result = Result(ROW, notes=stage.notes)
    async for name, value in scenario(stage, servers, Scale(3_000, 0, exact_below=100)):
        result.figures[name] = value
    assert {name for name in ROW.limits if result.verdict(name) != "kept"} == set(), stage.notes
    assert result.figures["portfolios"] == 30
    assert result.figures["portfolios with a graph"] > 1
    assert any(
        each.startswith("Recall@10 after the deletes of 0 to 99 chunks: all 1.000")
        for each in stage.notes
    )
