"""What a token is worth: its user's rights of this moment, and nothing of its own."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.chat.administration import UserRecord
from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores.users import PgUsers
from tests.support.pg_stores import Stores

EMAIL = "ada@example.com"


@pytest.fixture
def users(stores: Stores) -> PgUsers:
    return PgUsers(stores.database)


@pytest.fixture
async def tenant() -> str:
    """The name of one that there is not yet."""
    return uuid4().hex


async def of_token(
    stores: Stores, email: str, tenant: str | None = None, issued: datetime | None = None
) -> Scope | None:
    """As whom a token of this address acts."""
    claim = Claim(None, email, tenant, issued or datetime.now(UTC))
    return await stores.credentials.resolve(claim)


@pytest.fixture
async def ada(stores: Stores, users: PgUsers, tenant: str) -> tuple[Scope, UserRecord]:
    scope = await stores.credentials.owner_of(tenant, create=True)
    return scope, await users.create(scope, {"email": EMAIL, "role": "member"})


async def test_a_tokens_rights_are_those_of_the_user(
    stores: Stores, users: PgUsers, tenant: str, ada: tuple[Scope, UserRecord]
) -> None:
    scope, user = ada
    subject = f"user:{user.id}"
    assert await of_token(stores, "ADA@example.com", tenant) == Scope(
        scope.tenant_id, subject, "member"
    )
    await users.update(scope, user.id, {"role": "admin"})
    assert await of_token(stores, EMAIL, tenant) == Scope(scope.tenant_id, subject, "admin")
    for email, name in (("eve@example.com", tenant), (EMAIL, "nobody's"), ("", tenant)):
        assert await of_token(stores, email, name) is None


async def test_who_is_disabled_is_nobody_at_once(
    stores: Stores, users: PgUsers, tenant: str, ada: tuple[Scope, UserRecord]
) -> None:
    scope, user = ada
    await users.update(scope, user.id, {"disabled": True})
    assert await of_token(stores, EMAIL, tenant) is None


async def test_a_token_is_not_of_whoever_is_given_the_address_after_its_user(
    stores: Stores, users: PgUsers, tenant: str, ada: tuple[Scope, UserRecord]
) -> None:
    scope, user = ada
    before = datetime.now(UTC) - timedelta(seconds=2)
    await users.delete(scope, user.id)
    another = await users.create(scope, {"email": EMAIL, "role": "admin"})
    assert await of_token(stores, EMAIL, tenant, issued=before) is None
    # Tokens tell whole seconds.
    new = await of_token(stores, EMAIL, tenant, datetime.now(UTC).replace(microsecond=0))
    assert new == Scope(scope.tenant_id, f"user:{another.id}", "admin")


async def test_a_token_is_not_of_whoever_takes_over_its_users_address(
    stores: Stores, users: PgUsers, tenant: str, ada: tuple[Scope, UserRecord]
) -> None:
    scope, user = ada
    eve = await users.create(scope, {"email": "eve@example.com", "role": "admin"})
    before = datetime.now(UTC)
    await users.update(scope, user.id, {"email": "ada.lovelace@example.com"})
    await users.update(scope, eve.id, {"email": EMAIL})
    assert await of_token(stores, EMAIL, tenant, issued=before) is None
    assert await of_token(stores, EMAIL, tenant) == Scope(
        scope.tenant_id, f"user:{eve.id}", "admin"
    )
    await users.update(scope, eve.id, {"email": EMAIL.upper(), "name": "Eve"})
    assert await of_token(stores, EMAIL, tenant, issued=datetime.now(UTC)) is not None


async def test_an_address_of_several_tenants_needs_the_tenants_name(
    stores: Stores, users: PgUsers, tenant: str
) -> None:
    email = f"{uuid4().hex}@example.com"
    first = await stores.credentials.owner_of(tenant, create=True)
    await users.create(first, {"email": email, "role": "owner"})
    assert await of_token(stores, email) == await of_token(stores, email, tenant)
    second = await stores.credentials.owner_of(f"{tenant}-2", create=True)
    await users.create(second, {"email": email, "role": "member"})
    assert await of_token(stores, email) is None
    found = await of_token(stores, email, f"{tenant}-2")
    assert found is not None
    assert (found.tenant_id, found.role) == (second.tenant_id, "member")


async def test_a_tenant_is_found_or_made_by_its_name(stores: Stores, tenant: str) -> None:
    with pytest.raises(NotFound, match="no such tenant"):
        await stores.credentials.owner_of(tenant)
    made = await stores.credentials.owner_of(tenant, create=True)
    assert await stores.credentials.owner_of(tenant) == made
    assert await stores.credentials.owner_of(tenant, create=True) == made
