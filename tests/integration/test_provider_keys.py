"""Agents' own keys in Postgres: sealed, shown by four characters, cleared with their address, and
sealed anew while everything else goes on."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.chat.model import Question, Scope
from app.embedded import Servers
from app.errors import Conflict, InvalidInput, NotFound
from app.stores.agents import PgAgents
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.migrate import MigrationFailed, upgrade
from app.stores.prepare import prepare
from app.stores.sealed import Rotated, reseal_all
from app.vault.agent_keys import COLUMN, TABLE, AgentKeys
from app.vault.keyring import parse_keys
from app.vault.sealing import Place, Undecryptable, Vault
from tests.support.command import environment, output_of
from tests.support.forking import Output
from tests.support.pg_stores import ENCODER, Stores

OLD, NEW, LOST = (base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2, 3))
KEY = "sk-planted-key-of-an-agent-wxyz"
ADDRESS = "https://llm.example/v1"
OWN = {"name": "own", "provider": "openai", "base_url": ADDRESS, "api_key": KEY}


def vault(*keys: str) -> Vault:
    return Vault(parse_keys(",".join(keys)))


def agents(stores: Stores, *keys: str) -> PgAgents:
    return PgAgents(stores.database, AgentKeys(vault(*keys)))


async def stored(stores: Stores, agent_id: int) -> bytes | None:
    [row] = await stores.behind("SELECT api_key_sealed FROM agents WHERE id = $1", agent_id)
    found: bytes | None = row["api_key_sealed"]
    return found


async def key_of(stores: Stores, scope: Scope, agent_id: int, *keys: str) -> str:
    """The key as the question path finds it."""
    loaded = await PgConversations(stores.database).load(scope, Question(agent_id, "hi"))
    agent = loaded.agent
    assert agent.sealed_key is not None
    return AgentKeys(vault(*keys)).open(
        agent.sealed_key, agent.tenant_id, agent.id, agent.provider, agent.base_url
    )


async def test_a_key_is_shown_by_four_characters_and_stored_as_none(
    stores: Stores, scope: Scope
) -> None:
    made = await agents(stores, OLD).create(scope, OWN)
    assert (made.base_url, made.api_key_last4, made.api_key_state) == (ADDRESS, "wxyz", "ok")
    assert KEY not in repr(made)
    assert await key_of(stores, scope, made.id, OLD) == KEY
    [row] = await stores.behind("SELECT a::text AS whole FROM agents a WHERE id = $1", made.id)
    assert KEY not in row["whole"]
    assert KEY.encode().hex() not in row["whole"]


async def test_a_key_under_a_lost_master_key_is_a_visible_state(
    stores: Stores, scope: Scope
) -> None:
    made = await agents(stores, OLD).create(scope, OWN)
    for keys in ((NEW,), ()):
        other = agents(stores, *keys) if keys else PgAgents(stores.database)
        shown = await other.get(scope, made.id)
        assert (shown.api_key_last4, shown.api_key_state) == ("wxyz", "undecryptable")
        assert [each.api_key_state for each in (await other.list(scope, 9, None)).items] == [
            "undecryptable"
        ]
    again = await agents(stores, NEW).update(scope, made.id, {"api_key": "sk-another-abcd"})
    assert (again.api_key_last4, again.api_key_state) == ("abcd", "ok")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"name": "renamed"}, KEY),
        ({"base_url": ADDRESS}, KEY),
        ({"provider": "openai", "model": "m"}, KEY),
        ({"base_url": "https://other.example/v1"}, None),
        ({"base_url": ADDRESS + "/"}, None),
        ({"base_url": None}, None),
        ({"provider": "mistral"}, None),
        ({"provider": "auto", "base_url": None}, None),
        ({"api_key": None}, None),
        ({"api_key": "sk-new-key-5678"}, "sk-new-key-5678"),
        (
            {"base_url": "https://other.example/v1", "api_key": "sk-new-key-5678"},
            "sk-new-key-5678",
        ),
        ({"base_url": None, "provider": "mistral", "api_key": KEY}, KEY),
    ],
)
async def test_a_key_stays_where_it_was_entered_for(
    stores: Stores, scope: Scope, change: dict[str, Any], left: str | None
) -> None:
    made = await agents(stores, OLD).create(scope, OWN)
    changed = await agents(stores, OLD).update(scope, made.id, change)
    assert changed.version == made.version + 1
    if left is None:
        assert (changed.api_key_last4, changed.api_key_state) == (None, "none")
        assert await stored(stores, made.id) is None
    else:
        assert (changed.api_key_last4, changed.api_key_state) == (left[-4:], "ok")
        assert await key_of(stores, scope, made.id, OLD) == left


async def test_an_address_changed_behind_the_service_leaves_no_key_that_opens(
    stores: Stores, scope: Scope
) -> None:
    made = await agents(stores, OLD).create(scope, OWN)
    await stores.behind(
        "UPDATE agents SET base_url = 'https://thief.example/v1' WHERE id = $1", made.id
    )
    assert (await agents(stores, OLD).get(scope, made.id)).api_key_state == "undecryptable"
    with pytest.raises(Undecryptable):
        await key_of(stores, scope, made.id, OLD)


async def test_a_swapped_rows_key_does_not_open(stores: Stores, scope: Scope) -> None:
    """The same tenant's other agent, and another tenant's, at the same address."""
    other = await stores.tenant()
    made = await agents(stores, OLD).create(scope, OWN)
    for owner, name in ((scope, "second"), (other, "own")):
        thief = await agents(stores, OLD).create(owner, {**OWN, "name": name})
        await stores.behind(
            "UPDATE agents SET api_key_sealed = (SELECT api_key_sealed FROM agents WHERE id = $1) "
            "WHERE id = $2",
            made.id,
            thief.id,
        )
        assert (await agents(stores, OLD).get(owner, thief.id)).api_key_state == "undecryptable"
        with pytest.raises(Undecryptable):
            await key_of(stores, owner, thief.id, OLD)


async def test_without_a_master_key_no_key_is_kept(stores: Stores, scope: Scope) -> None:
    with pytest.raises(Conflict, match="AGENT_KMS_KEY"):
        await stores.agents.create(scope, OWN)
    assert (await stores.agents.list(scope, 9, None)).items == []
    made = await stores.agents.create(scope, {"name": "none"})
    with pytest.raises(Conflict, match="AGENT_KMS_KEY"):
        await stores.agents.update(scope, made.id, {"provider": "openai", "api_key": KEY})
    assert await stores.agents.get(scope, made.id) == made


async def test_another_tenants_agent_is_given_no_key(stores: Stores, scope: Scope) -> None:
    made = await agents(stores, OLD).create(scope, OWN)
    with pytest.raises(NotFound):
        await agents(stores, OLD).update(await stores.tenant(), made.id, {"api_key": "sk-foreign"})
    assert await key_of(stores, scope, made.id, OLD) == KEY


@pytest.mark.parametrize("provider", ["auto", "extractive"])
async def test_what_has_no_vendor_has_no_key(stores: Stores, scope: Scope, provider: str) -> None:
    """Also where two changes meet of which each was well by itself."""
    for values in ({"base_url": ADDRESS}, {"api_key": KEY}):
        with pytest.raises(InvalidInput):
            await agents(stores, OLD).create(scope, {"name": "n", "provider": provider, **values})


async def test_a_plain_key_is_never_stored_by_mistake(stores: Stores, scope: Scope) -> None:
    made = await stores.agents.create(scope, {"name": "n", "provider": "openai"})
    with pytest.raises(asyncpg.CheckViolationError):
        await stores.behind(
            "UPDATE agents SET api_key_sealed = $1, api_key_last4 = 'wxyz' WHERE id = $2",
            KEY.encode(),
            made.id,
        )


class Rotating:
    """A database of this module's own, which is rotated as a whole."""

    def __init__(self, database: Database, owner_url: str, superuser_url: str) -> None:
        self.stores = Stores(database, superuser_url)
        self.owner_url = owner_url

    async def rotate(self, *keys: str) -> Rotated:
        return await reseal_all(self.owner_url, vault(*keys))

    async def command(self, keys: str, by: Output) -> tuple[int, str]:
        """`citestream keys rotate`, as whoever has the owner's address calls it."""
        given = {"DATABASE_OWNER_URL": self.owner_url, "AGENT_KMS_KEY": keys}
        return await by(
            "keys", "rotate", env=environment(Path("/nonexistent"), COLUMNS="200", **given)
        )


@pytest.fixture(scope="module")
async def alone(
    fresh_database: Callable[[], Awaitable[Servers]], superuser_url: str
) -> AsyncIterator[Rotating]:
    fresh = await fresh_database()
    await upgrade(fresh.owner_url)
    await prepare(fresh.owner_url, ENCODER, 32)
    database = await Database.open(fresh.app_url)
    name = fresh.owner_url.partition("?")[0].rpartition("/")[2]
    behind = superuser_url.replace("/citestream?", f"/{name}?", 1)
    yield Rotating(database, fresh.owner_url, behind)
    await database.close()


@pytest.fixture
async def rotating(alone: Rotating) -> Rotating:
    """With nothing in it that is encrypted."""
    for statement in ('DROP TABLE IF EXISTS "of Tomorrow", loose', "DELETE FROM agents"):
        await alone.stores.behind(statement)
    return alone


OF_TOMORROW = (
    'CREATE TABLE "of Tomorrow" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, '
    'tenant_id bigint NOT NULL, plain bytea, "Secret" sealed)',
    'ALTER TABLE "of Tomorrow" OWNER TO citestream_owner',
    'ALTER TABLE "of Tomorrow" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
    'CREATE POLICY tenant_isolation ON "of Tomorrow" '
    "USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::bigint)",
)


async def test_rotation_finds_every_encrypted_column_and_every_tenant(rotating: Rotating) -> None:
    """Also one that nobody has told it of, in a table of tomorrow."""
    stores = rotating.stores
    for statement in OF_TOMORROW:
        await stores.behind(statement)
    scopes = [await stores.tenant() for _ in range(3)]
    made = []
    for scope in scopes:
        hidden = await stores.portfolio(scope)
        await stores.behind(
            "INSERT INTO portfolio_access (portfolio_id, tenant_id, readers) VALUES ($1, $2, '{}')",
            hidden.id,
            scope.tenant_id,
        )
        made.append(await agents(stores, OLD).create(scope, {**OWN, "portfolio_id": hidden.id}))
        place = Place(scope.tenant_id, "of Tomorrow", len(made), "Secret")
        await stores.behind(
            'INSERT INTO "of Tomorrow" (tenant_id, plain, "Secret") '
            "VALUES ($1, $2::bytea, $2::bytea)",
            scope.tenant_id,
            vault(OLD).seal(b"of tomorrow", place),
        )
    before = await stores.behind("SELECT version, updated_at FROM agents ORDER BY id")
    rotated = await rotating.rotate(NEW, OLD)
    assert (rotated.columns, rotated.resealed, rotated.newest, rotated.undecryptable) == (
        2, 6, 0, []
    )  # fmt: skip
    assert await stores.behind("SELECT version, updated_at FROM agents ORDER BY id") == before
    for scope, agent in zip(scopes, made, strict=True):
        assert await key_of(stores, scope, agent.id, NEW) == KEY
    for row in await stores.behind('SELECT * FROM "of Tomorrow"'):
        place = Place(row["tenant_id"], "of Tomorrow", row["id"], "Secret")
        assert vault(NEW).open(row["Secret"], place) == b"of tomorrow"
        assert vault(OLD).open(row["plain"], place) == b"of tomorrow"
    again = await rotating.rotate(NEW, OLD)
    assert (again.resealed, again.newest) == (0, 6)
    recorded = await stores.behind(
        "SELECT tenant_id, object_kind FROM audit_log WHERE action = 'key.rotate' ORDER BY 1, 2"
    )
    assert [tuple(row) for row in recorded] == [
        (scope.tenant_id, kind)
        for scope in scopes
        for kind in ("agents.api_key_sealed", "of Tomorrow.Secret")
    ]


async def test_a_column_that_belongs_to_no_tenant_stops_rotation_by_its_name(
    rotating: Rotating,
) -> None:
    await rotating.stores.behind("CREATE TABLE loose (id bigint PRIMARY KEY, token sealed)")
    with pytest.raises(MigrationFailed, match="token of loose"):
        await rotating.rotate(NEW, OLD)


async def test_what_does_not_open_is_counted_named_and_left(rotating: Rotating) -> None:
    stores = rotating.stores
    scope = await stores.tenant()
    lost = await agents(stores, LOST).create(scope, OWN)
    good = await agents(stores, OLD).create(scope, {**OWN, "name": "good"})
    before = await stored(stores, lost.id)
    for resealed in (1, 0):
        rotated = await rotating.rotate(NEW, OLD)
        assert rotated.undecryptable == [Place(scope.tenant_id, TABLE, lost.id, COLUMN)]
        assert rotated.resealed == resealed
    assert await stored(stores, lost.id) == before
    assert await key_of(stores, scope, good.id, NEW) == KEY
    assert (await rotating.rotate(NEW, LOST)).undecryptable == []
    assert await key_of(stores, scope, lost.id, NEW) == KEY


async def test_one_rotates_at_a_time(rotating: Rotating) -> None:
    stores = rotating.stores
    scope = await stores.tenant()
    for name in ("a", "b"):
        await agents(stores, OLD).create(scope, {**OWN, "name": name})
    refused: list[Conflict] = []
    inside = asyncio.Event()

    def once(_: int, __: int) -> None:
        inside.set()

    async def meanwhile() -> None:
        await inside.wait()
        with pytest.raises(Conflict, match="another process") as error:
            await rotating.rotate(NEW, OLD)
        refused.append(error.value)

    # Its second value is locked until the other one has been refused.
    blocker = await asyncpg.connect(stores.superuser_url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("SELECT FROM agents ORDER BY id DESC LIMIT 1 FOR UPDATE")
    first = asyncio.create_task(reseal_all(rotating.owner_url, vault(NEW, OLD), once))
    await meanwhile()
    await transaction.rollback()
    await blocker.close()
    assert (await first).resealed == 2
    assert len(refused) == 1


async def test_an_interrupted_rotation_is_gone_on_with(rotating: Rotating) -> None:
    stores = rotating.stores
    scope = await stores.tenant()
    made = [
        await agents(stores, OLD).create(scope, {**OWN, "name": str(each)}) for each in range(20)
    ]

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        await reseal_all(rotating.owner_url, vault(NEW, OLD), kill)
    rotated = await rotating.rotate(NEW, OLD)
    assert (rotated.newest, rotated.resealed) == (7, 13)
    for each in made:
        assert await key_of(stores, scope, each.id, NEW) == KEY


async def test_rotation_under_load_loses_nothing(rotating: Rotating) -> None:
    """Keys are entered, cleared and read by services with either key first, all the while."""
    stores = rotating.stores
    scope = await stores.tenant()
    services = [agents(stores, OLD, NEW), agents(stores, NEW, OLD)]
    expected: dict[int, str | None] = {}
    for number in range(12):
        made = await services[0].create(scope, {**OWN, "name": f"agent {number}"})
        expected[made.id] = KEY
    over = asyncio.Event()
    changes = 0

    async def change(share: list[int], service: PgAgents) -> None:
        nonlocal changes
        number = 0
        while not over.is_set():
            number += 1
            agent_id = share[number % len(share)]
            if (former := expected[agent_id]) is not None:
                assert await key_of(stores, scope, agent_id, NEW, OLD) == former
            key = None if number % 5 == 0 else f"sk-entered-{agent_id}-{number:06}"
            expected[agent_id] = key
            await service.update(scope, agent_id, {"api_key": key})
            changes += 1

    async def read() -> None:
        while not over.is_set():
            for agent_id in list(expected):
                state = (await services[1].get(scope, agent_id)).api_key_state
                assert state in ("ok", "none"), agent_id

    async def rotate() -> None:
        for keys in ((NEW, OLD), (OLD, NEW)):
            rotated = await rotating.rotate(*keys)
            assert rotated.undecryptable == []
        over.set()

    changed = list(expected)[:6]  # the others are entered once, and must only not be lost
    async with asyncio.TaskGroup() as group:
        for number, service in enumerate(services):
            group.create_task(change(changed[number::2], service))
        group.create_task(read())
        group.create_task(rotate())
    assert changes > 0
    last = await rotating.rotate(NEW, OLD)
    assert (last.undecryptable, last.settled) == ([], True)
    for agent_id, key in expected.items():
        if key is None:
            assert await stored(stores, agent_id) is None
        else:
            assert await key_of(stores, scope, agent_id, NEW) == key


async def test_the_command_says_what_it_did_and_what_is_left(
    rotating: Rotating, forked: Output
) -> None:
    stores = rotating.stores
    scope = await stores.tenant()
    made = await agents(stores, OLD).create(scope, OWN)
    status, printed = await rotating.command(f"{NEW},{OLD}", output_of)
    assert status == 0, printed
    assert "1 of 1 encrypted values in 1 column" in printed
    assert "Nothing to do" in (await rotating.command(f"{NEW},{OLD}", forked))[1]
    assert await key_of(stores, scope, made.id, NEW) == KEY
    lost = await agents(stores, LOST).create(scope, {**OWN, "name": "lost"})
    status, printed = await rotating.command(f"{NEW},{OLD}", forked)
    assert status == 1, printed
    assert f"api_key_sealed of agents {lost.id}, tenant {scope.tenant_id}" in printed
    for secret in (OLD, NEW, LOST, KEY):
        assert secret not in printed


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("", "Set AGENT_KMS_KEY"),
        (f"{NEW},{NEW}", "AGENT_KMS_KEY: the keys 1 and 2 are the same"),
        (NEW[:20], "AGENT_KMS_KEY: the key 1 of the list has 15 bytes"),
    ],
)
async def test_the_command_refuses_a_wrong_list_in_one_sentence(
    rotating: Rotating, forked: Output, keys: str, says: str
) -> None:
    status, printed = await rotating.command(keys, forked)
    assert status == 1
    assert says in printed
    assert len(printed.splitlines()) <= 2
    assert not keys or keys[:20] not in printed


def test_the_place_of_a_value_is_part_of_it() -> None:
    """One that is moved to another agent, tenant or column does not open there."""
    keys = AgentKeys(vault(OLD))
    sealed = keys.seal(KEY, 1, 2, "openai", ADDRESS)
    assert keys.open(sealed, 1, 2, "openai", ADDRESS) == KEY
    for moved in (
        (2, 2, "openai", ADDRESS),
        (1, 3, "openai", ADDRESS),
        (1, 2, "mistral", ADDRESS),
        (1, 2, "openai", "https://thief.example/v1"),
        (1, 2, "openai", None),
    ):
        assert not keys.opens(sealed, *moved)
    place = Place(1, TABLE, 2, COLUMN)
    with pytest.raises(Undecryptable):
        vault(OLD).open(sealed, replace(place, column="other"))
    assert os.urandom(8) not in sealed
