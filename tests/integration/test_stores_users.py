"""The people of a tenant, and who may change whom."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.chat.administration import UserRecord
from app.chat.model import Claim, Scope
from app.chat.people import checked_email, is_above
from app.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.support.pg_stores import Stores, turn


async def user(stores: Stores, scope: Scope, role: str = "member") -> UserRecord:
    values = {"email": f"{uuid4().hex}@example.com", "role": role}
    return await stores.users.create(scope, values)


def acting(scope: Scope, role: str, subject: str = "key:1") -> Scope:
    return replace(scope, role=role, subject=subject)  # type: ignore[arg-type]


async def test_a_user_lives(stores: Stores, scope: Scope) -> None:
    values = {"email": "  Ada.Lovelace@Example.COM ", "name": "Ada", "role": "admin"}
    made = await stores.users.create(scope, values)
    assert (made.email, made.name, made.role) == ("ada.lovelace@example.com", "Ada", "admin")
    assert made.disabled_at is None
    assert await stores.users.get(scope, made.id) == made
    assert await stores.users.find(scope, "ADA.lovelace@example.com ") == made
    changed = await stores.users.update(
        scope, made.id, {"email": "Ada@Example.com", "name": "", "role": "member"}
    )
    assert (changed.email, changed.name, changed.role) == ("ada@example.com", "", "member")
    await stores.users.delete(scope, made.id)
    for gone in (
        stores.users.get(scope, made.id),
        stores.users.find(scope, changed.email),
        stores.users.update(scope, made.id, {"name": "x"}),
        stores.users.delete(scope, made.id),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_users_are_listed_by_id(stores: Stores, scope: Scope) -> None:
    made = [await user(stores, scope) for _ in range(3)]
    first = await stores.users.list(scope, 2, None)
    assert (list(first.items), first.next) == (made[:2], str(made[1].id))
    assert list((await stores.users.list(scope, 2, first.next)).items) == made[2:]


async def test_an_address_is_a_tenants_once(stores: Stores, scope: Scope) -> None:
    values = {"email": f"{uuid4().hex}@example.com"}
    first, second = await stores.users.create(scope, values), await user(stores, scope)
    with pytest.raises(Conflict, match="address"):
        await stores.users.create(scope, {"email": values["email"].upper()})
    with pytest.raises(Conflict, match="address"):
        await stores.users.update(scope, second.id, values)
    other = await stores.tenant()
    assert (await stores.users.create(other, values)).id != first.id


async def test_another_tenants_users_are_not_there(stores: Stores, scope: Scope) -> None:
    foreign = await user(stores, await stores.tenant())
    for call in (
        stores.users.get(scope, foreign.id),
        stores.users.find(scope, foreign.email),
        stores.users.update(scope, foreign.id, {"disabled": True}),
        stores.users.delete(scope, foreign.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await stores.users.list(scope, 10, None)).items == []


@pytest.mark.parametrize(
    "email",
    ["", " ", "ada", "@example.com", "ada@", "a b@example.com", "ada@exam ple.com", "ada@-x.com",
     "ada@example.com\n\n@", "ad\u212a@example.com", "a\0@example.com", "a@b@c", f"a@{'b' * 260}"],
)  # fmt: skip
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidInput):
        checked_email(email)


@pytest.mark.parametrize("values", [{"disabled": True}, {"id": 7}, {"tenant_id": 1}])
async def test_a_new_user_is_an_address_a_name_and_a_role(
    stores: Stores, scope: Scope, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await stores.users.create(scope, {"email": "a@example.com", **values})


def test_roles_are_ordered() -> None:
    assert is_above("owner", "admin") and is_above("admin", "member")
    assert not is_above("member", "member") and not is_above("member", "owner")
    with pytest.raises(InvalidInput):
        is_above("root", "member")


async def test_nobody_makes_or_changes_somebody_above_himself(stores: Stores, scope: Scope) -> None:
    admin = acting(scope, "admin")
    owner, member = await user(stores, scope, "owner"), await user(stores, scope)
    for call in (
        stores.users.create(admin, {"email": "x@example.com", "role": "owner"}),
        stores.users.update(admin, owner.id, {"name": "x"}),
        stores.users.update(admin, owner.id, {"sign_out_everywhere": True}),
        stores.users.update(admin, member.id, {"role": "owner"}),
        stores.users.delete(admin, owner.id),
    ):
        with pytest.raises(Forbidden):
            await call
    assert await stores.users.get(scope, owner.id) == owner
    assert (await stores.users.update(admin, member.id, {"role": "admin"})).role == "admin"


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": "admin"}, None])
async def test_a_tenant_keeps_an_owner(
    stores: Stores, scope: Scope, change: dict[str, Any] | None
) -> None:
    """The fixture's tenant has an API key of an owner's, which goes first."""
    owner = await user(stores, scope, "owner")
    himself = acting(scope, "owner", f"user:{owner.id}")
    for key in (await stores.keys.list(scope, 10, None)).items:
        await stores.keys.revoke(himself, key.id)

    async def end(who: UserRecord) -> None:
        if change is None:
            await stores.users.delete(himself, who.id)
        else:
            await stores.users.update(himself, who.id, change)

    with pytest.raises(Conflict, match="last owner"):
        await end(owner)
    assert await stores.users.get(scope, owner.id) == owner
    disabled = await user(stores, scope, "owner")
    await stores.users.update(himself, disabled.id, {"disabled": True})
    with pytest.raises(Conflict, match="last owner"):
        await end(owner)  # who is disabled is none
    await stores.users.update(himself, disabled.id, {"disabled": False})
    await end(owner)


async def test_two_owners_who_end_each_other_leave_one(stores: Stores, scope: Scope) -> None:
    first, second = [await user(stores, scope, "owner") for _ in range(2)]
    for key in (await stores.keys.list(scope, 10, None)).items:
        await stores.keys.revoke(scope, key.id)
    ended = await asyncio.gather(
        stores.users.update(acting(scope, "owner", "user:1"), first.id, {"disabled": True}),
        stores.users.delete(acting(scope, "owner", "user:2"), second.id),
        return_exceptions=True,
    )
    assert [isinstance(each, Conflict) for each in ended].count(True) == 1, ended


async def test_a_key_of_an_owners_is_an_owner_too(stores: Stores, scope: Scope) -> None:
    owner = await user(stores, scope, "owner")
    await stores.users.delete(acting(scope, "owner", f"user:{owner.id}"), owner.id)


async def test_whoever_runs_the_server_may_end_the_last_owner(stores: Stores, scope: Scope) -> None:
    owner = await user(stores, scope, "owner")
    for key in (await stores.keys.list(scope, 10, None)).items:
        await stores.keys.revoke(scope, key.id)
    await stores.users.delete(replace(scope, subject="owner"), owner.id)


async def test_a_disabled_user_is_nobody_and_his_sessions_stay_ended(
    stores: Stores, scope: Scope
) -> None:
    made = await user(stores, scope)
    _, secret = await stores.keys.create(scope, {"name": "k", "role": "member", "user_id": made.id})
    claim = stores.credentials.claim(secret)
    assert claim is not None
    opened = await stores.sessions.open(claim)
    assert opened is not None and opened.scope.subject == f"user:{made.id}"
    session = stores.credentials.claim(opened.secret)
    assert session is not None
    token = Claim(user=made.email.upper(), issued_at=made.created_at)
    every = [claim, session, token]
    assert await stores.credentials.resolve_all(every) == [opened.scope] * 3

    await stores.users.update(scope, made.id, {"disabled": True})
    assert await stores.credentials.resolve_all(every) == [None] * 3
    await stores.users.update(scope, made.id, {"disabled": False})
    assert await stores.credentials.resolve_all(every) == [opened.scope, None, None]


async def test_signing_out_everywhere_leaves_keys(stores: Stores, scope: Scope) -> None:
    made = await user(stores, scope)
    _, secret = await stores.keys.create(scope, {"name": "k", "role": "member", "user_id": made.id})
    claim = stores.credentials.claim(secret)
    assert claim is not None
    former = await stores.sessions.open(claim)
    assert former is not None
    await stores.users.update(scope, made.id, {"sign_out_everywhere": True})
    later = await stores.sessions.open(claim)
    assert later is not None
    claims = [stores.credentials.claim(each.secret) for each in (former, later)]
    found = await stores.credentials.resolve_all([each for each in claims if each is not None])
    assert found == [None, later.scope]


async def test_a_role_that_is_taken_away_is_gone_from_every_credential(
    stores: Stores, scope: Scope
) -> None:
    made = await user(stores, scope, "admin")
    _, secret = await stores.keys.create(scope, {"name": "k", "role": "admin", "user_id": made.id})
    claim = stores.credentials.claim(secret)
    assert claim is not None
    await stores.users.update(scope, made.id, {"role": "member"})
    found = await stores.credentials.resolve(claim)
    assert found is not None and found.role == "member"


async def test_who_is_removed_takes_his_conversations_with_him(
    stores: Stores, scope: Scope
) -> None:
    made, other = await user(stores, scope), await user(stores, scope)
    agent = await stores.agents.create(scope, {"name": "a"})
    for each in (made, other):
        his = Scope(scope.tenant_id, f"user:{each.id}", "member")
        await stores.conversations.store_turn(his, turn(agent.id))
    await stores.users.delete(scope, made.id)
    left = await stores.behind(
        "SELECT subject FROM conversations WHERE tenant_id = $1", scope.tenant_id
    )
    assert [row["subject"] for row in left] == [f"user:{other.id}"]
