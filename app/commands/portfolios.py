"""Portfolios by the names that are typed."""

from functools import partial

from app.api.services import Services
from app.chat.model import Scope
from app.commands.pages import every
from app.errors import NotFound


async def find_portfolio(services: Services, scope: Scope, name: str) -> int | None:
    """The id of the tenant's portfolio of this name."""
    async for portfolio in every(partial(services.portfolios.list, scope)):
        if portfolio.name == name:
            return portfolio.id
    return None


async def portfolio_named(services: Services, scope: Scope, name: str) -> int:
    """The same; made when new."""
    found = await find_portfolio(services, scope, name)
    if found is None:
        created = await services.portfolios.create(scope, {"name": name, "description": ""})
        return created.id
    return found


async def known_portfolio(services: Services, scope: Scope, name: str) -> int:
    """The same; NotFound where there is none."""
    found = await find_portfolio(services, scope, name)
    if found is None:
        raise NotFound(f"There is no portfolio {name!r}; `citestream ingest` makes one.")
    return found
