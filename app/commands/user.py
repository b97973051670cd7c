"""`citestream user`: who may sign in to a tenant, for whoever runs the server."""

from functools import partial

from rich.console import Console
from rich.table import Table

from app.chat.administration import UserRecord
from app.commands.auditing import record
from app.commands.pages import every
from app.commands.tenants import open_tenant


async def add_user(email: str, tenant: str, role: str, name: str) -> UserRecord:
    """Add them to the tenant, which is made when it is new. Raises Conflict for who is there."""
    async with open_tenant(tenant, create=True) as (services, scope):
        user = await services.users.create(scope, {"email": email, "role": role, "name": name})
        await record(services, scope, "user.create", "user", str(user.id))
        return user


async def list_users(tenant: str) -> list[UserRecord]:
    """All of a tenant's, disabled ones too."""
    async with open_tenant(tenant) as (services, scope):
        return [user async for user in every(partial(services.users.list, scope))]


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
