"""The soak's row 20 at a small scale: nothing is reached inside, and it is noticed where it is."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.outgoing import guard
from app.outgoing.addresses import is_public
from tests.soak.row import Result, Stage
from tests.soak.rows import row_20
from tests.support.live import Live, live_service


@pytest.fixture(scope="module")
async def services(connections: dict[str, Any]) -> AsyncIterator[tuple[Live, Live]]:
    asking = {"openai_api_key": "test"}
    async with (
        live_service(**connections, **asking) as closed,
        live_service(**connections, **asking, allow_private_hosts="127.0.0.1") as opened,
    ):
        yield closed, opened


async def result_of(stage: Stage, services: tuple[Live, Live], scale: row_20.Scale) -> Result:
    closed, opened = services
    result = Result(row_20.ROW, notes=stage.notes)
    async for name, value in row_20.scenario(stage, closed.http, closed.url, opened.url, scale):
        result.figures[name] = value
    return result


def broken(result: Result) -> set[str]:
    return {name for name in result.row.limits if result.verdict(name) != "kept"}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(1.0, tmp_path, random.Random(1), lambda _: None)


async def test_no_way_inside(stage: Stage, services: tuple[Live, Live]) -> None:
    result = await result_of(stage, services, row_20.Scale(rounds=1, names=100))
    assert broken(result) == set(), stage.notes


async def test_a_guard_that_takes_this_machine_for_public_is_noticed(
    stage: Stage, services: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        guard, "is_public", lambda address: address.is_loopback or is_public(address)
    )
    result = await result_of(stage, services, row_20.Scale(rounds=1, names=100, every=10))
    assert broken(result) >= {"internal connections", "answered otherwise"}
