"""What the servers themselves let anybody do, asked of them before there is a service.

One that cannot be reached is not judged: what needs it says so, or waits for it.
"""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg

from app.production.addresses import address
from app.settings import Settings
from app.stores import pooled
from app.stores.roles import RoleReport, role_of

# A server that is there answers in milliseconds; the start must not wait for one that is not.
PATIENCE_SECONDS = 3.0
REDIS_PORT = 6379


async def complaints_of_servers(settings: Settings) -> list[str]:
    """A sentence for each server that is not fit for production."""
    answers = await asyncio.gather(_of_database(settings), _of_redis(settings))
    return [sentence for sentence in answers if sentence is not None]


def unsafe_role(report: RoleReport) -> str:
    """Why the service does not run as this role, and as which it would."""
    return (
        f"DATABASE_URL connects as {report.role}, which can read past row level security; "
        "use a role that is no superuser, has no BYPASSRLS and owns no tables (citestream_app)."
    )


async def _of_database(settings: Settings) -> str | None:
    if settings.database_url is None:
        return None
    try:
        async with pooled.connected(settings.database_url, PATIENCE_SECONDS) as connection:
            report = await role_of(connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
        return None
    return None if report.safe else unsafe_role(report)


async def _of_redis(settings: Settings) -> str | None:
    """A password in the address says nothing of a server that asks nobody for it."""
    url = settings.redis_url
    if url is None or address(url).local or not address(url).guarded:
        return None
    if not any(await asyncio.gather(*map(_answers_anybody, _each(url)))):
        return None
    return (
        "The Redis of REDIS_URL answers without a password; set requirepass there (or switch its "
        "user `default` off) and the password in REDIS_URL."
    )


def _each(url: str) -> list[str]:
    """The addresses of the servers that one names: a cluster's are several."""
    parts = urlsplit(url)
    if parts.scheme != "redis+cluster":
        return [url]
    return [f"redis://{place}" for place in parts.netloc.rpartition("@")[2].split(",")]


async def _answers_anybody(url: str) -> bool:
    """Whether it answers a connection that has said neither a name nor a password. One that is
    not reached does not."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await _answers(url)
    except (OSError, ValueError):  # ValueError: a port that is none
        return False


async def _answers(url: str) -> bool:
    parts = urlsplit(url)
    context = None
    if parts.scheme == "rediss":
        context = ssl.create_default_context()
        # Nothing secret is sent; whose certificate it is, the service itself will ask.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        parts.hostname or "localhost", parts.port or REDIS_PORT, ssl=context
    )
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
