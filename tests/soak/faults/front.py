"""The shipped nginx in front of a deployment's replicas, and who comes that way."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.soak.deployment import Deployment
from tests.soak.keys import new_key
from tests.support.edge import edge

# As in nginx/replicas.conf.
OPTIONS = "max_fails=2 fail_timeout=3s"


@dataclass(frozen=True, slots=True)
class Front:
    """Its address, and the header without which nobody is let in there."""

    url: str
    headers: dict[str, str]


@asynccontextmanager
async def front(running: Deployment) -> AsyncIterator[Front]:
    """nginx in front of the replicas that there are now."""
    key = await new_key(running, "default")
    named = (f"{urlsplit(url).netloc} {OPTIONS}" for url in running.urls)
    async with edge(*named) as server:
        try:
            yield Front(server.url, {"Authorization": f"Bearer {key}"})
        finally:  # with the replicas' own logs, for whoever wonders
            shutil.copy(server.folder / "errors.log", running.stage.folder / "nginx.log")
