"""`citestream key`: an API key for a program."""

from app.bootstrap import Settings, build_services, connected


async def make_key(tenant: str, name: str) -> str:
    """Make a key of the tenant, which is made too when it is new, and return it, this once."""
    async with connected(Settings()) as live, build_services(live) as services:
        return await services.credentials.create(tenant, name)
