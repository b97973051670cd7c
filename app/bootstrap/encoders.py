"""Settings → the encoders, each with what stands in while it is away."""

from contextlib import AsyncExitStack
from pathlib import Path

from app.bootstrap.clients import secret
from app.chat.ports import Cache
from app.encoder.awaited import AwaitedEncoder
from app.encoder.client import EncoderClient
from app.encoder.configured import ConfiguredEncoders
from app.local_encoder import local_encoder
from app.performance import PerformanceMonitor
from app.performance.stages import EMBED
from app.settings import ConfigurationError, Settings
from app.settings.sections import EncoderSettings, NextEncoderSettings

MAIN, NEXT = "main", "next"
VARIABLES = {MAIN: "CITESTREAM_ENCODER", NEXT: "CITESTREAM_NEXT_ENCODER"}


async def open_encoders(
    settings: Settings, cache: Cache, stack: AsyncExitStack, monitor: PerformanceMonitor
) -> ConfiguredEncoders:
    """All that are configured, the preferred one first. One that is away is waited for in the
    background."""
    awaited: dict[str, AwaitedEncoder] = {}
    clients: dict[str, EncoderClient] = {}
    for role, configured in _configured(settings).items():
        local = local_encoder(settings) if role == MAIN else None
        clients[role] = _client(role, configured)
        awaited[role] = AwaitedEncoder(clients[role], local)
        stack.push_async_callback(awaited[role].aclose)
        await awaited[role].start()
    return ConfiguredEncoders(awaited, cache, lambda: monitor.track(EMBED), clients)


async def connect_main_encoder(settings: Settings, stack: AsyncExitStack) -> EncoderClient:
    """The one that new databases are prepared for. Raises EncoderUnavailable."""
    return await _connect(MAIN, settings.encoder, stack)


async def connect_preferred_encoder(settings: Settings, stack: AsyncExitStack) -> EncoderClient:
    """The one that portfolios are to have. Raises EncoderUnavailable."""
    role, configured = next(iter(_configured(settings).items()))
    return await _connect(role, configured, stack)


def _configured(settings: Settings) -> dict[str, EncoderSettings | NextEncoderSettings]:
    """By their roles. The next one first: it serves new portfolios as soon as the database is
    prepared for it, which is when the change to it begins."""
    if settings.next_encoder is None:
        return {MAIN: settings.encoder}
    return {NEXT: settings.next_encoder, MAIN: settings.encoder}


async def _connect(
    role: str, configured: EncoderSettings | NextEncoderSettings, stack: AsyncExitStack
) -> EncoderClient:
    client = _client(role, configured)
    stack.push_async_callback(client.aclose)
    await client.introduce()
    return client


def _client(role: str, configured: EncoderSettings | NextEncoderSettings) -> EncoderClient:
    if configured.url is None:
        raise ConfigurationError(
            f"Set {VARIABLES[role]}__URL to the encoder's address; `citestream encoder` starts one."
        )
    return EncoderClient(
        configured.url,
        api_key=secret(configured.api_key) or None,
        model=configured.model and _served_name(configured.model),
        timeout_seconds=configured.timeout_seconds,
    )


def _served_name(model: str) -> str:
    """What an encoder calls a model: its name, or for a folder the last part of the path."""
    return Path(model).name if Path(model).is_dir() else model
