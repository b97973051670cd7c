"""Agents, portfolios, API keys and cache epochs."""

import hashlib
import re
from typing import Any

import pytest

from app.chat.model import Question, Scope
from app.errors import Conflict, InvalidInput, NotFound
from tests.support.pg_stores import Stores, fill, scope_of, turn


async def test_an_agent_lives(stores: Stores, scope: Scope) -> None:
    portfolio = await stores.portfolio(scope)
    made = await stores.agents.create(
        scope, {"name": "a", "portfolio_id": portfolio.id, "top_k": 3, "temperature": 0.7}
    )
    assert (made.provider, made.max_tokens, made.version) == ("auto", 6000, 1)
    changed = await stores.agents.update(scope, made.id, {"model": "m", "portfolio_id": None})
    assert (changed.model, changed.portfolio_id, changed.version) == ("m", None, 2)
    assert changed.updated_at >= made.updated_at
    assert await stores.agents.get(scope, made.id) == changed
    await stores.agents.delete(scope, made.id)
    with pytest.raises(NotFound):
        await stores.agents.get(scope, made.id)


async def test_deleting_an_agent_removes_its_conversations(stores: Stores) -> None:
    filled = await fill(stores)
    await stores.agents.delete(filled.scope, filled.agent_id)
    with pytest.raises(NotFound):
        await stores.history.get(filled.scope, filled.conversation_id)
    for table in ("conversations", "messages", "runs", "citations"):
        [row] = await stores.behind(
            f"SELECT count(*) FROM {table} WHERE tenant_id = $1", filled.scope.tenant_id
        )
        assert row["count"] == 0, table


async def test_a_name_is_taken_once_in_a_tenant(stores: Stores, scope: Scope) -> None:
    other = await stores.tenant()
    for store in (stores.agents, stores.portfolios):
        first = await store.create(scope, {"name": "same"})
        second = await store.create(scope, {"name": "another"})
        await store.create(other, {"name": "same"})
        with pytest.raises(Conflict):
            await store.create(scope, {"name": "same"})
        with pytest.raises(Conflict):
            await store.update(scope, second.id, {"name": "same"})
        assert (await store.update(scope, first.id, {"name": "same"})).name == "same"


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": None},
        {"name": "x" * 20_000_000},
        {"name": "n", "top_k": 2**40},
        {"name": "n", "top_k": -1},
        {"name": "n", "provider": "nobody"},
        {"name": "n", "version": 7},
        {"name": "n", "tenant_id": 1},
        {},
    ],
)
async def test_values_that_cannot_be_stored_are_refused(
    stores: Stores, scope: Scope, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await stores.agents.create(scope, values)
    assert (await stores.agents.list(scope, 10, None)).items == []


async def test_a_portfolios_version_is_its_contents(stores: Stores, scope: Scope) -> None:
    made = await stores.portfolio(scope)
    changed = await stores.portfolios.update(scope, made.id, {"description": "new"})
    assert (changed.description, changed.version) == ("new", made.version)
    assert await stores.portfolios.get(scope, made.id) == changed


async def test_lists_are_pages_by_id(stores: Stores, scope: Scope) -> None:
    for store in (stores.agents, stores.portfolios):
        ids = [(await store.create(scope, {"name": f"n{n}"})).id for n in range(5)]
        first = await store.list(scope, 3, None)
        last = await store.list(scope, 3, first.next)
        assert [each.id for each in (*first.items, *last.items)] == ids
        assert last.next is None
        assert (await store.list(scope, 5, None)).next is None
        with pytest.raises(InvalidInput):
            await store.list(scope, 3, "next")


async def test_a_key_resolves_until_it_is_revoked_or_expires(stores: Stores) -> None:
    key = await stores.credentials.create("keys", "laptop")
    assert re.fullmatch(r"cs_[A-Za-z0-9_-]{43}", key)
    scope = await scope_of(stores.credentials, key)
    assert scope is not None
    assert scope.role == "owner"
    digest = hashlib.sha256(key.encode()).digest()
    [row] = await stores.behind("SELECT * FROM api_keys WHERE key_hash = $1", digest)
    assert (row["name"], row["last4"], row["tenant_id"]) == ("laptop", key[-4:], scope.tenant_id)
    assert scope.subject == f"key:{row['id']}"
    for expires, revoked, found in (
        ("-1 s", None, None),
        (None, "-1 s", None),
        ("1 h", "-1 s", None),
        ("1 h", None, scope),
    ):
        await stores.behind(
            "UPDATE api_keys SET expires_at = now() + $2::text::interval, "
            "revoked_at = now() + $3::text::interval WHERE id = $1",
            row["id"],
            expires,
            revoked,
        )
        assert await scope_of(stores.credentials, key) == found


async def test_a_tenant_is_created_once(stores: Stores) -> None:
    keys = [await stores.credentials.create("twice", name) for name in ("a", "b")]
    scopes = [await scope_of(stores.credentials, key) for key in keys]
    assert scopes[0] is not None
    assert scopes[1] is not None
    assert scopes[0].tenant_id == scopes[1].tenant_id


@pytest.mark.parametrize("key", ["", "cs_", "cs_" + "x" * 43, "x", "cs_\0", "cs_\ud800", "ü"])
async def test_other_keys_resolve_to_nobody(stores: Stores, key: str) -> None:
    assert await scope_of(stores.credentials, key) is None


async def test_the_default_scope_owns_the_default_tenant(stores: Stores) -> None:
    scope = await stores.credentials.default_scope()
    assert (scope.subject, scope.role) == ("owner", "owner")
    loaded = await stores.conversations.load(scope, Question("default", "?"))
    assert loaded.portfolio is not None
    assert (loaded.portfolio.name, loaded.agent.provider) == ("sample", "auto")
    assert (loaded.agent.top_k, loaded.agent.max_tokens, loaded.agent.temperature) == (
        15,
        6000,
        0.2,
    )


async def test_epochs_rise_where_asked(stores: Stores) -> None:
    filled = await fill(stores)
    scope = filled.scope

    async def epochs() -> tuple[int, int, int]:
        loaded = await stores.conversations.load(scope, Question(filled.agent_id, "?"))
        assert loaded.portfolio is not None
        return loaded.tenant_epoch, loaded.agent.cache_epoch, loaded.portfolio.cache_epoch

    raise_epoch = stores.invalidation.raise_epoch
    assert await epochs() == (0, 0, 0)
    await raise_epoch(scope, None, None)
    assert await epochs() == (1, 0, 0)
    await raise_epoch(scope, filled.agent_id, None)
    assert await epochs() == (1, 1, 0)
    await raise_epoch(scope, filled.agent_id, filled.portfolio_id)
    assert await epochs() == (1, 2, 1)
    with pytest.raises(NotFound):
        await raise_epoch(scope, 2**62, filled.portfolio_id)
    assert await epochs() == (1, 2, 1)


async def test_a_conversation_is_deleted_whole(stores: Stores, scope: Scope) -> None:
    agent = await stores.agents.create(scope, {"name": "a"})
    made = turn(agent.id)
    await stores.conversations.store_turn(scope, made)
    await stores.history.delete(scope, made.conversation_id)
    with pytest.raises(NotFound):
        await stores.history.get(scope, made.conversation_id)
    with pytest.raises(NotFound):
        await stores.history.delete(scope, made.conversation_id)
