"""`citestream check`: what production would refuse, before it does."""

from collections.abc import Callable

from app.production import concerns, findings
from app.settings import Settings


async def check_settings(say: Callable[[str], None]) -> bool:
    """Whether production starts with the environment's settings; a line for each thing to set, and
    for each that may be right."""
    settings = Settings()
    found = await findings(settings)
    for sentence in found:
        say(f"- {sentence}")
    for sentence in concerns(settings):
        say(f"(is this meant?) {sentence}")
    if not found:
        say("Nothing stands against production.")
    return not found
