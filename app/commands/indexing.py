"""`citestream worker`: what is uploaded is indexed here, beside the API's processes or for them."""

import asyncio
from collections.abc import Callable

from app.bootstrap import Settings, build_services, with_worker
from app.commands.cycles import put_off, settle
from app.production import refuse_weak_secrets
from app.serving import signals
from app.settings.secrets import secrets_of
from app.telemetry import configure_logging

READY = "Citestream's worker is ready: it indexes what is uploaded."


async def index_uploads(say: Callable[[str], None]) -> None:
    """Until a signal. What was begun by then is offered to others at once."""
    put_off()
    settings = _here(Settings())
    configure_logging(settings.log_level, secrets=secrets_of(settings))
    refuse_weak_secrets(settings)
    stopping = asyncio.Event()
    with signals(stopping.set):
        async with build_services(settings) as services, with_worker(settings, services):
            settle()
            say(READY)
            await stopping.wait()
            say("Stopping …")


def _here(settings: Settings) -> Settings:
    """Also in the environment of processes that leave it to this one."""
    return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"here": True})})
