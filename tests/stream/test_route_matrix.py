"""Every route × {owner, same tenant without access, other tenant, anonymous, revoked}, with real
ids in path, query and body. A route that nobody has classified fails here."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.main import create_app
from tests.support.live import Live, unique
from tests.support.matrix import CASES, Case, gaps
from tests.support.matrix_world import World, expected, play, world_of


@pytest.fixture(scope="module")
async def world(live: Live) -> AsyncIterator[World]:
    create = live.services.credentials.create
    keys = {name: await create(unique("matrix"), name) for name in ("owner", "stranger")}
    async with world_of(live.url, keys) as made:
        yield made


def test_no_route_and_no_id_is_unclassified() -> None:
    def no_services() -> Any:
        raise AssertionError("nothing starts the application that only describes itself")

    document = orjson.loads(orjson.dumps(create_app(no_services).openapi()))
    found = gaps(document, CASES)
    assert found.operations == set()
    assert found.places == set()


def name(case: Case) -> str:
    return f"{case.method} {case.path} {','.join(case.ids)}"


@pytest.mark.parametrize("case", CASES, ids=name)
async def test_each_caller_gets_what_is_his(world: World, case: Case) -> None:
    told = await play(world, case)
    assert told.statuses == expected(case)
    assert not told.leaks
