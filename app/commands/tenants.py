"""What commands about one tenant begin with."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.api.services import Services
from app.bootstrap import Settings, build_services, connected
from app.chat.model import Scope
from app.commands.installation import settings_here


@asynccontextmanager
async def open_tenant(
    name: str,
    *,
    create: bool = False,
    settings: Settings | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[tuple[Services, Scope]]:
    """The services, and the scope of a tenant's owner. NotFound where there is no such tenant,
    unless it is to be made. `on_progress` is told what is started."""
    async with (
        connected(settings or settings_here(), on_progress) as live,
        build_services(live) as services,
    ):
        yield services, await services.credentials.owner_of(name, create=create)
