"""`citestream user`: who may sign in to a tenant, for whoever runs the server."""

from rich.console import Console
from rich.table import Table

from app.chat.administration import UserRecord
from app.commands.auditing import record
from app.commands.tenants import open_tenant

PAGE = 100


async def add_user(email: str, tenant: str, role: str, name: str) -> UserRecord:
    """Add them to the tenant, which is made when it is new. Raises Conflict for who is there."""
    async with open_tenant(tenant, create=True) as (services, scope):
        user = await services.users.create(scope, {"email": email, "role": role, "name": name})
        await record(services, scope, "user.create", "user", str(user.id))
        return user


async def list_users(tenant: str) -> list[UserRecord]:
    """All of a tenant's, disabled ones too."""
    found: list[UserRecord] = []
    async with open_tenant(tenant) as (services, scope):
        after: str | None = None
        while True:
            page = await services.users.list(scope, PAGE, after)
            found += page.items
            if (after := page.next) is None:
                return found


async def disable_user(email: str, tenant: str) -> UserRecord:
    """No credential of theirs is good from now on. Raises NotFound for who is not there."""
    async with open_tenant(tenant) as (services, scope):
        user = await services.users.find(scope, email)
        disabled = await services.users.update(scope, user.id, {"disabled": True})
        await record(services, scope, "user.change", "user", str(user.id))
        return disabled


def print_users(users: list[UserRecord]) -> None:
    """A line for each."""
    table = Table("email", "role", "name", "since", "", box=None, pad_edge=False)
    for user in users:
        since, state = f"{user.created_at:%Y-%m-%d}", "disabled" if user.disabled_at else ""
        table.add_row(user.email, user.role, user.name, since, state)
    Console(highlight=False, markup=False).print(table)
