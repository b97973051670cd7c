"""Every process looks for runs of dead ones at the same time, while requests are sent again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.chat.model import Scope
from app.chat.ports import IdempotencyKey
from tests.support.pg_stores import Stores, turn

AGE = "UPDATE runs SET alive_at = now() - interval '1 minute' WHERE id = ANY ($1)"
AGE_KEYS = (
    "UPDATE idempotency_keys SET created_at = now() - interval '2 days' WHERE run_id = ANY ($1)"
)
LOCK = "SELECT FROM runs WHERE id = $1 FOR UPDATE"
LOCK_KEY = "SELECT FROM idempotency_keys WHERE run_id = $1 FOR UPDATE"
MARK = "SELECT interrupt_dead_runs(interval '20 seconds')"


@pytest.fixture
async def dead(stores: Stores, scope: Scope) -> list[UUID]:
    """Runs of a process that is gone, each with a key that is of no use any more."""
    values = {"name": "helper", "system_prompt": "", "provider": "extractive"}
    agent = (await stores.agents.create(scope, values)).id
    runs = []
    for _ in range(3):
        key = IdempotencyKey(uuid4().hex, b"digest")
        begun = await stores.conversations.begin_turn(scope, turn(agent), key)
        runs.append(begun.ids.run)
    await stores.behind(AGE, runs)
    await stores.behind(AGE_KEYS, runs)
    return runs


@pytest.fixture
async def two(stores: Stores) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections of two processes."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            connection = await asyncpg.connect(stores.superuser_url, command_timeout=20)
            stack.push_async_callback(connection.close)
            opened.append(connection)
        yield opened


async def states(stores: Stores, runs: list[UUID]) -> list[tuple[str, bool]]:
    """Of each run its status, and whether its key is there."""
    return [
        (row["status"], row["kept"])
        for row in await stores.behind(
            "SELECT status, EXISTS (SELECT FROM idempotency_keys k WHERE k.run_id = r.id) AS kept "
            "FROM runs r WHERE id = ANY ($1) ORDER BY array_position($1, id)",
            runs,
        )
    ]


@pytest.mark.parametrize("lock", [LOCK, LOCK_KEY], ids=["runs", "keys"])
async def test_two_at_once_wait_for_nobody(
    stores: Stores, dead: list[UUID], two: list[asyncpg.Connection], lock: str
) -> None:
    """Each has a row already that the other would need."""
    async with two[0].transaction(), two[1].transaction():
        for connection, run in zip(two, dead, strict=False):
            await connection.fetch(lock, run)
        await asyncio.gather(*(connection.fetch(MARK) for connection in two))
    assert await states(stores, dead) == [("interrupted", False)] * 3


async def test_what_somebody_has_is_left_for_the_next_time(
    stores: Stores, dead: list[UUID], two: list[asyncpg.Connection]
) -> None:
    holder, _ = two
    async with holder.transaction():
        await holder.fetch(LOCK_KEY, dead[0])
        await holder.fetch(LOCK, dead[0])
        assert await stores.conversations.interrupt_dead() >= 2
    ended = ("interrupted", False)
    assert await states(stores, dead) == [("streaming", True), ended, ended]
    assert await stores.conversations.interrupt_dead() >= 1
    assert await states(stores, dead) == [ended] * 3
