"""API keys and sessions: what they may, how they end, and that nobody is shown them twice."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.chat.keys import SESSION_PREFIX
from app.chat.model import Claim, Scope
from app.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized
from app.stores.tenants import digest_of
from tests.integration.test_stores_users import acting, user
from tests.support.pg_stores import Stores, scope_of

MEMBER: dict[str, Any] = {"name": "k", "role": "member"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def claim_of(stores: Stores, secret: str) -> Claim:
    claim = stores.credentials.claim(secret)
    assert claim is not None
    return claim


async def test_a_key_lives(stores: Stores, scope: Scope) -> None:
    key, secret = await stores.keys.create(scope, {**MEMBER, "expires_at": TOMORROW})
    assert (key.name, key.role, key.user_id, key.portfolio_ids) == ("k", "member", None, None)
    assert (key.last4, key.expires_at) == (secret[-4:], TOMORROW)
    assert await scope_of(stores.credentials, secret) == Scope(
        scope.tenant_id, f"key:{key.id}", "member"
    )
    assert await stores.keys.get(scope, key.id) == key
    await stores.keys.revoke(scope, key.id)
    assert await scope_of(stores.credentials, secret) is None
    for gone in (stores.keys.get(scope, key.id), stores.keys.revoke(scope, key.id)):
        with pytest.raises(NotFound):
            await gone
    assert key.id not in {each.id for each in (await stores.keys.list(scope, 10, None)).items}


async def test_a_secret_is_kept_nowhere(stores: Stores, scope: Scope) -> None:
    key, secret = await stores.keys.create(scope, MEMBER)
    assert secret.startswith("cs_") and not secret.startswith(SESSION_PREFIX)
    assert secret not in str(asdict(key))
    [row] = await stores.behind("SELECT * FROM api_keys WHERE id = $1", key.id)
    assert secret not in str(dict(row)) and row["key_hash"] == digest_of(secret)


async def test_keys_are_listed_without_sessions(stores: Stores, scope: Scope) -> None:
    key, secret = await stores.keys.create(scope, MEMBER)
    opened = await stores.sessions.open(claim_of(stores, secret))
    assert opened is not None
    [session] = await stores.behind(
        "SELECT id FROM api_keys WHERE key_hash = $1", digest_of(opened.secret)
    )
    listed = (await stores.keys.list(scope, 10, None)).items
    assert listed[-1] == key and session["id"] not in {each.id for each in listed}
    first = await stores.keys.list(scope, 1, None)
    assert list((await stores.keys.list(scope, 1, first.next)).items) == [key]
    for call in (stores.keys.get(scope, session["id"]), stores.keys.revoke(scope, session["id"])):
        with pytest.raises(NotFound):
            await call


async def test_another_tenants_keys_are_not_there(stores: Stores, scope: Scope) -> None:
    other = await stores.tenant()
    key, secret = await stores.keys.create(other, MEMBER)
    for call in (stores.keys.get(scope, key.id), stores.keys.revoke(scope, key.id)):
        with pytest.raises(NotFound):
            await call
    assert await scope_of(stores.credentials, secret) is not None


async def test_a_key_of_a_user_is_that_user(stores: Stores, scope: Scope) -> None:
    made = await user(stores, scope, "admin")
    key, secret = await stores.keys.create(
        scope, {"name": "k", "role": "member", "user_id": made.id}
    )
    assert key.user_id == made.id
    assert await scope_of(stores.credentials, secret) == Scope(
        scope.tenant_id, f"user:{made.id}", "member"
    )
    with pytest.raises(InvalidInput, match="no more rights"):
        await stores.keys.create(scope, {"name": "k", "role": "owner", "user_id": made.id})
    await stores.users.delete(scope, made.id)
    assert await scope_of(stores.credentials, secret) is None


async def test_a_limited_key_uses_its_portfolios_only(stores: Stores, scope: Scope) -> None:
    seen, hidden = await stores.portfolio(scope), await stores.portfolio(scope)
    key, secret = await stores.keys.create(scope, {**MEMBER, "portfolio_ids": [seen.id, seen.id]})
    assert key.portfolio_ids == [seen.id]
    limited = await scope_of(stores.credentials, secret)
    assert limited is not None and limited.portfolios == (seen.id,)
    assert [each.id for each in (await stores.portfolios.list(limited, 10, None)).items] == [
        seen.id
    ]
    with pytest.raises(NotFound):
        await stores.portfolios.get(limited, hidden.id)
    opened = await stores.sessions.open(claim_of(stores, secret))
    assert opened is not None and opened.scope == limited


async def test_a_claim_reads_what_its_scope_reads(stores: Stores, scope: Scope) -> None:
    seen, hidden = await stores.portfolio(scope), await stores.portfolio(scope)
    agent = await stores.agents.create(scope, {"name": "a", "portfolio_id": seen.id})
    key, secret = await stores.keys.create(scope, {**MEMBER, "portfolio_ids": [seen.id]})
    claim = claim_of(stores, secret)
    assert await stores.agents.get(claim, agent.id) == agent
    assert (await stores.documents.list(claim, seen.id, 10, None)).items == []
    assert [each.id for each in (await stores.portfolios.list(claim, 10, None)).items] == [seen.id]
    with pytest.raises(NotFound):
        await stores.portfolios.get(claim, hidden.id)
    await stores.keys.revoke(scope, key.id)
    for call in (stores.agents.get(claim, agent.id), stores.documents.list(claim, 1, 10, None)):
        with pytest.raises(Unauthorized):
            await call


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"role": "admin", "portfolio_ids": ["own"]}, InvalidInput),
        ({"portfolio_ids": []}, InvalidInput),
        ({"portfolio_ids": ["foreign"]}, NotFound),
        ({"portfolio_ids": ["own", "foreign"]}, NotFound),
        ({"portfolio_ids": [2**70]}, NotFound),
        ({"portfolio_ids": [-1]}, NotFound),
        ({"user_id": "foreign"}, NotFound),
        ({"user_id": 2**70}, NotFound),
        ({"role": "root"}, InvalidInput),
        ({"name": "a\0b"}, InvalidInput),
        ({"kind": "session"}, InvalidInput),
        ({"parent_id": 1}, InvalidInput),
        ({"expires_at": datetime.now(UTC)}, InvalidInput),
        ({"expires_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-9)))}, InvalidInput),
        ({"expires_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))}, InvalidInput),
    ],
)
async def test_keys_that_cannot_be_are_refused(
    stores: Stores, scope: Scope, changed: dict[str, Any], error: type[Exception]
) -> None:
    other = await stores.tenant()
    portfolios = {"own": (await stores.portfolio(scope)).id}
    portfolios["foreign"] = (await stores.portfolio(other)).id
    if "portfolio_ids" in changed:
        ids = [portfolios.get(each, each) for each in changed["portfolio_ids"]]
        changed = {**changed, "portfolio_ids": ids}
    if changed.get("user_id") == "foreign":
        changed = {"user_id": (await user(stores, other)).id}
    before = await stores.keys.list(scope, 10, None)
    with pytest.raises(error):
        await stores.keys.create(scope, {**MEMBER, **changed})
    assert await stores.keys.list(scope, 10, None) == before


async def test_nobody_makes_or_revokes_a_key_above_himself(stores: Stores, scope: Scope) -> None:
    admin = acting(scope, "admin")
    owner = await user(stores, scope, "owner")
    own, _ = await stores.keys.create(scope, {"name": "k", "role": "owner"})
    his, _ = await stores.keys.create(scope, {**MEMBER, "user_id": owner.id})
    for call in (
        stores.keys.create(admin, {"name": "k", "role": "owner"}),
        stores.keys.create(admin, {**MEMBER, "user_id": owner.id}),
        stores.keys.revoke(admin, own.id),
        stores.keys.revoke(admin, his.id),
    ):
        with pytest.raises(Forbidden):
            await call
    key, _ = await stores.keys.create(admin, {"name": "k", "role": "admin"})
    await stores.keys.revoke(admin, key.id)


async def test_a_tenant_keeps_an_owner(stores: Stores, scope: Scope) -> None:
    """The fixture's key is the tenant's only one."""
    [key] = (await stores.keys.list(scope, 10, None)).items
    await stores.keys.create(scope, {"name": "k", "role": "admin"})
    with pytest.raises(Conflict, match="last owner"):
        await stores.keys.revoke(scope, key.id)
    await stores.keys.create(scope, {"name": "k", "role": "owner"})
    await stores.keys.revoke(scope, key.id)


async def test_a_session_has_its_keys_rights_and_ends_with_it(stores: Stores, scope: Scope) -> None:
    key, secret = await stores.keys.create(scope, {"name": "laptop", "role": "admin"})
    opened = await stores.sessions.open(claim_of(stores, secret))
    assert opened is not None and opened.secret.startswith(SESSION_PREFIX)
    session = claim_of(stores, opened.secret)
    assert opened.scope == await stores.credentials.resolve(session)
    assert opened.scope == Scope(scope.tenant_id, f"key:{key.id}", "admin")
    holder = await stores.sessions.holder(opened.scope, session)
    assert (holder.name, holder.expires_at) == ("laptop", opened.expires_at)
    assert timedelta(hours=11) < opened.expires_at - datetime.now(UTC) <= timedelta(hours=12)
    await stores.keys.revoke(scope, key.id)
    assert await stores.credentials.resolve(session) is None
    assert await stores.sessions.open(claim_of(stores, secret)) is None


async def test_a_session_lasts_no_longer_than_its_key(stores: Stores, scope: Scope) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    _, secret = await stores.keys.create(scope, {**MEMBER, "expires_at": soon})
    opened = await stores.sessions.open(claim_of(stores, secret))
    assert opened is not None and opened.expires_at == soon


async def test_a_session_opens_no_session(stores: Stores, scope: Scope) -> None:
    _, secret = await stores.keys.create(scope, MEMBER)
    opened = await stores.sessions.open(claim_of(stores, secret))
    assert opened is not None
    assert await stores.sessions.open(claim_of(stores, opened.secret)) is None
    assert await stores.sessions.open(Claim(digest_of("cs_nobody"))) is None
    assert await stores.sessions.open(Claim(user="nobody@example.com")) is None


async def test_a_token_opens_a_session_of_its_user(stores: Stores, scope: Scope) -> None:
    made = await user(stores, scope)
    opened = await stores.sessions.open(Claim(user=made.email, issued_at=datetime.now(UTC)))
    assert opened is not None
    assert opened.scope == Scope(scope.tenant_id, f"user:{made.id}", "member")
    session = claim_of(stores, opened.secret)
    assert (await stores.sessions.holder(opened.scope, session)).name == made.email
    await stores.users.update(scope, made.id, {"name": "Ada"})
    assert (await stores.sessions.holder(opened.scope, session)).name == "Ada"


async def test_closing_ends_one_session_and_no_key(stores: Stores, scope: Scope) -> None:
    _, secret = await stores.keys.create(scope, MEMBER)
    key = claim_of(stores, secret)
    first, second = [await stores.sessions.open(key) for _ in range(2)]
    assert first is not None and second is not None
    await stores.sessions.close(first.scope, claim_of(stores, first.secret))
    await stores.sessions.close(first.scope, key)
    found = await stores.credentials.resolve_all(
        [claim_of(stores, each) for each in (first.secret, second.secret, secret)]
    )
    assert found == [None, second.scope, second.scope]


async def test_sessions_long_over_are_forgotten(stores: Stores, scope: Scope) -> None:
    _, secret = await stores.keys.create(scope, MEMBER)
    key = claim_of(stores, secret)
    over = await stores.sessions.open(key)
    assert over is not None
    await stores.behind(
        "UPDATE api_keys SET expires_at = now() - interval '31 days' WHERE key_hash = $1",
        digest_of(over.secret),
    )
    await stores.sessions.open(key)
    assert not await stores.behind(
        "SELECT 1 FROM api_keys WHERE key_hash = $1", digest_of(over.secret)
    )


async def test_whose_a_credential_is_is_told_for_every_kind(stores: Stores, scope: Scope) -> None:
    operator = replace(scope, subject="owner")
    assert (await stores.sessions.holder(operator, None)).name is None
    with pytest.raises(NotFound):
        await stores.sessions.holder(Scope(2**40), None)
