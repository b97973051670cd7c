"""What commands about one tenant begin with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.api.services import Services
from app.bootstrap import Settings, build_services, connected
from app.chat.model import Scope


@asynccontextmanager
async def open_tenant(name: str, *, create: bool = False) -> AsyncIterator[tuple[Services, Scope]]:
    """The services, and the scope of a tenant's owner. NotFound where there is no such tenant,
    unless it is to be made."""
    async with connected(Settings()) as live, build_services(live) as services:
        yield services, await services.credentials.owner_of(name, create=create)
