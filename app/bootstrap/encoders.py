"""Settings → the encoders, each with what stands in while it is away."""

from contextlib import AsyncExitStack
from pathlib import Path

from app.bootstrap.clients import secret
from app.encoder.client import EncoderClient
from app.encoder.standby import StandbyEncoder
from app.local_encoder import local_encoder
from app.settings import ConfigurationError, EncoderSettings, NextEncoderSettings, Settings


async def connect_main_encoder(settings: Settings, stack: AsyncExitStack) -> EncoderClient:
    """The one that new databases are prepared for. Raises EncoderUnavailable."""
    return await _connect("CITESTREAM_ENCODER", settings.encoder, stack)


async def connect_preferred_encoder(settings: Settings, stack: AsyncExitStack) -> EncoderClient:
    """The one that portfolios are to have. Raises EncoderUnavailable."""
    return await _connect(*_configured(settings)[0], stack)


async def open_encoders(settings: Settings, stack: AsyncExitStack) -> list[StandbyEncoder]:
    """All that are configured, the preferred one first."""
    return [await _standby(settings, *each, stack) for each in _configured(settings)]


def _configured(
    settings: Settings,
) -> list[tuple[str, EncoderSettings | NextEncoderSettings]]:
    """With the variables that configure them. The next one first: it serves new portfolios as
    soon as the database is prepared for it, which is when the change to it begins."""
    upcoming = settings.next_encoder
    chosen = [] if upcoming is None else [("CITESTREAM_NEXT_ENCODER", upcoming)]
    return [*chosen, ("CITESTREAM_ENCODER", settings.encoder)]


async def _connect(
    variable: str, encoder: EncoderSettings | NextEncoderSettings, stack: AsyncExitStack
) -> EncoderClient:
    if encoder.url is None:
        raise ConfigurationError(
            f"Set {variable}__URL to the encoder's address; `citestream encoder` starts one."
        )
    client = await EncoderClient.connect(
        encoder.url,
        api_key=secret(encoder.api_key) or None,
        model=encoder.model and _served_name(encoder.model),
        timeout_seconds=encoder.timeout_seconds,
    )
    stack.push_async_callback(client.aclose)
    return client


async def _standby(
    settings: Settings,
    variable: str,
    encoder: EncoderSettings | NextEncoderSettings,
    stack: AsyncExitStack,
) -> StandbyEncoder:
    """The encoder, with a local one for the time it is away where that is the same model."""
    client = await _connect(variable, encoder, stack)
    local = local_encoder(settings) if encoder is settings.encoder else None
    standby = StandbyEncoder(client, local)
    stack.push_async_callback(standby.aclose)
    return standby


def _served_name(model: str) -> str:
    """What an encoder calls a model: its name, or for a folder the last part of the path."""
    return Path(model).name if Path(model).is_dir() else model
