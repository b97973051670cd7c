"""Refusing, with everything that is to be set said at once."""

from collections.abc import Sequence

import structlog

from app.production.rules import complaints, concerns, weak
from app.settings import ConfigurationError, Settings

log = structlog.get_logger(__name__)


async def findings(settings: Settings) -> list[str]:
    """All that production would refuse to serve with, a sentence each, whatever the environment
    is now."""
    from app.production.servers import complaints_of_servers  # and with it all of the database's

    return [*complaints(settings), *await complaints_of_servers(settings)]


async def refuse_in_production(settings: Settings) -> None:
    """Return where these settings may serve: always in development. Raises ConfigurationError."""
    if settings.environment == "production":
        for concern in concerns(settings):
            log.warning("production", concern=concern)
        _refuse(await findings(settings))


def refuse_weak_secrets(settings: Settings) -> None:
    """For what does not serve, and is not given all that a service needs: judge what it has.
    Raises ConfigurationError."""
    if settings.environment == "production":
        _refuse(weak(settings))


def _refuse(found: Sequence[str]) -> None:
    if found:
        raise ConfigurationError("\n- ".join(["Production does not start like this:", *found]))
