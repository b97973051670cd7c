"""The audit log in Postgres: appended to by the service, read by owners, changed by nobody."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.chat.administration import AuditEntry
from app.chat.model import Claim, Scope
from app.embedded import Servers
from app.errors import InvalidInput
from app.stores.audit import PgAudit
from tests.support.pg_stores import Stores

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def entry(scope: Scope, **changes: Any) -> AuditEntry:
    made = AuditEntry(
        tenant_id=scope.tenant_id,
        at=NOW,
        subject="user:1",
        role="admin",
        action="agent.delete",
        object_kind="agent",
        object_id="7",
        result="ok",
        status=204,
        request_id="r1",
        address="127.0.0.1",
    )
    return replace(made, **changes)


@pytest.fixture
def audit(stores: Stores) -> PgAudit:
    return PgAudit(stores.database)


async def test_what_was_appended_is_listed_latest_first(stores: Stores, audit: PgAudit) -> None:
    scope, other = await stores.tenant(), await stores.tenant()
    entries = [
        entry(scope),
        entry(scope, action="key.create", object_id=None, address=None),
        entry(scope, subject="key:2", result="denied", status=403, count=12),
    ]
    await audit.append(entries)
    await audit.append([entry(other)])
    listed = await audit.list(scope, 10, None)
    assert listed.next is None
    ids = [record.id for record in listed.items]
    assert ids == sorted(ids, reverse=True)
    assert [without_id(record) for record in listed.items] == entries[::-1]
    first = await audit.list(scope, 2, None)
    rest = await audit.list(scope, 2, first.next)
    assert [*first.items, *rest.items] == listed.items
    assert rest.next is None
    with pytest.raises(InvalidInput):
        await audit.list(scope, 2, "nonsense")


async def test_it_is_filtered_by_who_and_what(stores: Stores, audit: PgAudit) -> None:
    scope = await stores.tenant()
    await audit.append([entry(scope), entry(scope, subject="key:2"), entry(scope, action="a.b")])
    by_subject = await audit.list(scope, 10, None, subject="key:2")
    assert [record.subject for record in by_subject.items] == ["key:2"]
    by_action = await audit.list(scope, 10, None, action="a.b")
    assert [record.action for record in by_action.items] == ["a.b"]
    assert not (await audit.list(scope, 10, None, subject="key:2", action="a.b")).items


async def test_only_owners_of_the_tenant_see_it(stores: Stores, audit: PgAudit) -> None:
    scope, other = await stores.tenant(), await stores.tenant()
    await audit.append([entry(scope)])
    assert (await audit.list(scope, 10, None)).items
    assert not (await audit.list(other, 10, None)).items
    assert not (await audit.list(replace(scope, role="admin"), 10, None)).items
    assert not (await audit.list(replace(scope, role="member"), 10, None)).items


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET subject = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log (tenant_id, at, subject, role, action, object_kind, result, status,"
        " request_id) SELECT tenant_id + 1, at, '', '', '', '', 'ok', 0, '' FROM audit_log",
        "SELECT forget_audit(now())",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    ],
)
async def test_the_service_can_change_nothing(
    stores: Stores, audit: PgAudit, migrated: Servers, statement: str
) -> None:
    scope = await stores.tenant()
    await audit.append([entry(scope)])
    connection = await asyncpg.connect(migrated.app_url)
    try:
        await connection.execute("SELECT set_config('app.forgetting', 'on', false)")
        await connection.execute("SELECT set_config('app.role', 'owner', false)")
        tenant = str(scope.tenant_id)
        await connection.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
    assert len((await audit.list(scope, 10, None)).items) == 1


@pytest.mark.parametrize("who", ["owner", "superuser"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET subject = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"],
)
async def test_even_its_owner_changes_nothing_by_mistake(
    stores: Stores, audit: PgAudit, migrated: Servers, who: str, statement: str
) -> None:
    scope = await stores.tenant()
    await audit.append([entry(scope)])
    url = migrated.owner_url if who == "owner" else stores.superuser_url
    connection = await asyncpg.connect(url)
    try:
        tenant = str(scope.tenant_id)
        await connection.execute("SELECT set_config('app.tenant_id', $1, false)", tenant)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_owner_forgets_what_is_old(
    stores: Stores, audit: PgAudit, migrated: Servers
) -> None:
    scope = await stores.tenant()
    old = NOW - timedelta(days=5_000)
    await audit.append([entry(scope, at=old), entry(scope)])
    connection = await asyncpg.connect(migrated.owner_url)
    try:
        before = old + timedelta(seconds=1)
        assert await connection.fetchval("SELECT forget_audit($1)", before) == 1
        assert await connection.fetchval("SELECT forget_audit($1)", before) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("TRUNCATE audit_log")
    finally:
        await connection.close()
    assert [record.at for record in (await audit.list(scope, 10, None)).items] == [NOW]


async def test_a_refused_credential_is_still_somebodys(stores: Stores, audit: PgAudit) -> None:
    key = await stores.credentials.create("holders", "test")
    claim = stores.credentials.claim(key)
    assert claim is not None
    scope = await stores.credentials.resolve(claim)
    assert scope is not None
    assert await audit.holder_of(claim) == scope
    await stores.behind(
        "UPDATE api_keys SET revoked_at = now() WHERE key_hash = $1", claim.key_digest
    )
    assert await stores.credentials.resolve(claim) is None
    assert await audit.holder_of(claim) == scope
    assert await audit.holder_of(Claim(bytes(32))) is None


async def test_a_disabled_user_is_still_known(stores: Stores, audit: PgAudit) -> None:
    scope, other = await stores.tenant(), await stores.tenant()
    names = await stores.behind(
        "SELECT name FROM tenants WHERE id = ANY ($1) ORDER BY id",
        [scope.tenant_id, other.tenant_id],
    )
    [made, _] = await stores.behind(
        "INSERT INTO users (tenant_id, email, role, disabled_at) "
        "VALUES ($1, 'ana@audit.test', 'admin', now()), ($2, 'ana@audit.test', 'admin', now()) "
        "RETURNING id",
        scope.tenant_id,
        other.tenant_id,
    )
    known = Scope(scope.tenant_id, f"user:{made['id']}", "admin")
    named = Claim(user="Ana@audit.test", tenant=names[0]["name"])
    assert await audit.holder_of(named) == known
    assert await audit.holder_of(replace(named, tenant=None)) is None  # of two tenants
    assert await audit.holder_of(replace(named, user="bo@audit.test")) is None


async def test_what_is_sent_again_is_kept_once(stores: Stores, audit: PgAudit) -> None:
    scope = await stores.tenant()
    sent = [entry(scope), entry(scope)]
    await audit.append(sent)
    await audit.append([*sent, entry(scope, action="key.create")])
    listed = await audit.list(scope, 10, None)
    assert [record.action for record in listed.items] == ["key.create", *["agent.delete"] * 2]


def without_id(record: AuditEntry) -> AuditEntry:
    values = asdict(record)
    del values["id"]
    return AuditEntry(**values)
