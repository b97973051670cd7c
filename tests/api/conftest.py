"""One application on fakes per test, and a client of it as the machine's own user."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.api_fakes import World, client_of


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(world) as client:
        yield client
