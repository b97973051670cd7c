"""`citestream key`: API keys for programs, and for people to sign in with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from app.api.services import Services
from app.chat.keys import KeyRecord
from app.chat.model import Scope
from app.commands.auditing import record
from app.commands.pages import every
from app.commands.portfolios import known_portfolio
from app.commands.tenants import open_tenant


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to make: of a user, by the address, or of nobody but itself; `portfolios` by name.

    Without a role it is the user's, `member` for one that is limited to portfolios, else `owner`.
    """

    name: str
    role: str | None = None
    user: str | None = None
    portfolios: Sequence[str] = ()
    expires_at: datetime | None = None


async def make_key(tenant: str, wanted: Wanted) -> str:
    """Make a key of the tenant, which is made too when it is new, and return it, this once."""
    async with open_tenant(tenant, create=True) as (services, scope):
        key, secret = await services.keys.create(scope, await _values(services, scope, wanted))
        await record(services, scope, "key.create", "key", str(key.id))
        return secret


async def list_keys(tenant: str) -> list[KeyRecord]:
    """Those of a tenant that are not revoked."""
    async with open_tenant(tenant) as (services, scope):
        return [key async for key in every(partial(services.keys.list, scope))]


async def revoke_key(tenant: str, key_id: int) -> None:
    """Nobody gets in with it from now on. Raises NotFound."""
    async with open_tenant(tenant) as (services, scope):
        await services.keys.revoke(scope, key_id)
        await record(services, scope, "key.revoke", "key", str(key_id))


def print_keys(keys: list[KeyRecord]) -> None:
    """A line for each."""
    table = Table(
        "id", "name", "role", "of", "ends in", "portfolios", "expires", box=None, pad_edge=False
    )
    for key in keys:
        table.add_row(
            str(key.id),
            key.name,
            key.role,
            "" if key.user_id is None else f"user {key.user_id}",
            key.last4,
            ", ".join(map(str, key.portfolio_ids or ())) or "all",
            f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
        )
    Console(highlight=False, markup=False).print(table)


async def _values(services: Services, scope: Scope, wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {"name": wanted.name, "expires_at": wanted.expires_at}
    role = "owner"
    if wanted.user is not None:
        user = await services.users.find(scope, wanted.user)
        values["user_id"], role = user.id, user.role
    if wanted.portfolios:
        values["portfolio_ids"] = [
            await known_portfolio(services, scope, name) for name in wanted.portfolios
        ]
        role = "member"
    return {**values, "role": wanted.role or role}
