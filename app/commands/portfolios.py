"""Portfolios by the names that are typed."""

from app.api.services import Services
from app.chat.model import Scope
from app.errors import NotFound

PAGE = 200


async def find_portfolio(services: Services, scope: Scope, name: str) -> int | None:
    """The id of the tenant's portfolio of this name."""
    after = None
    while True:
        page = await services.portfolios.list(scope, PAGE, after)
        for record in page.items:
            if record.name == name:
                return record.id
        if page.next is None:
            return None
        after = page.next


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
