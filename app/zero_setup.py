"""The servers of a machine that has none; light to import, so that they start first.

The encoder takes longest to be ready, and the rest of the service a second to import: both
happen at the same time.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.embedded import embedded_servers
from app.embedded.secrets import kept_secret
from app.settings import Settings


@asynccontextmanager
async def servers(
    settings: Settings,
    on_progress: Callable[[str], None] = lambda _: None,
    *,
    meanwhile: str | None = None,
) -> AsyncIterator[Settings]:
    """Settings that name running servers: the configured ones, or else embedded ones, which are
    started, or joined, and stopped at the end if they were started here. Raises EmbeddedError.

    A module that is named `meanwhile` is imported while embedded ones start.
    """
    if settings.database_url is not None:
        yield settings
        return
    importing = asyncio.create_task(asyncio.to_thread(import_module, meanwhile or __name__))
    async with embedded_servers(
        settings.data,
        encoder=encoder_command(settings) if settings.encoder.url is None else None,
        on_progress=on_progress,
    ) as running:
        await importing
        encoder = {"url": settings.encoder.url or running.encoder_url}
        yield settings.model_copy(
            update={
                "database_url": running.app_url,
                "database_owner_url": running.owner_url,
                "redis_url": running.redis_url,
                "encoder": settings.encoder.model_copy(update=encoder),
                **_kept_secrets(settings),
            }
        )


def _kept_secrets(settings: Settings) -> dict[str, Any]:
    """Those that nobody has set are the data folder's own."""
    kept: dict[str, Any] = {}
    if settings.kms_keys is None:
        kept["kms_keys"] = SecretStr(kept_secret(settings.data, "kms"))
    if settings.auth.secret is None:
        secret = SecretStr(kept_secret(settings.data, "auth"))
        kept["auth"] = settings.auth.model_copy(update={"secret": secret})
    return kept


def encoder_command(settings: Settings) -> list[str]:
    """How to start an encoder process of the configured model, from whatever folder."""
    model, cache = settings.encoder.model, settings.data.absolute() / "models"
    if Path(model).expanduser().is_dir():
        model = str(Path(model).expanduser().absolute())
    command = [sys.executable, "-m", "app.cli", "encoder", "--model", model]
    command += ["--device", settings.device, "--threads", str(settings.cpu_threads)]
    command += ["--backend", settings.encoder.backend, "--cache", str(cache)]
    command += ["--batch-tokens", str(settings.encoder.batch_tokens)]
    return command
