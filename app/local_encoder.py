"""A local encoder for the time that the configured one is away; a process, so no torch in ours,
and one for all API processes of this machine and user."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec

from app.embedded import EmbeddedError
from app.embedded.shared_encoder import shared_encoder
from app.encoder.client import EncoderClient
from app.errors import EncoderUnavailable
from app.settings import Settings
from app.zero_setup import encoder_command

StartLocal = Callable[[], AbstractAsyncContextManager[EncoderClient]]


def local_encoder(settings: Settings) -> StartLocal | None:
    """How to start, or join, one of the configured model; None where none is installed."""
    if find_spec("sentence_transformers") is None:
        return None

    @asynccontextmanager
    async def start() -> AsyncIterator[EncoderClient]:
        try:
            async with shared_encoder(encoder_command(settings)) as url:
                client = await EncoderClient.connect(
                    url, timeout_seconds=settings.encoder.timeout_seconds
                )
                async with client:
                    yield client
        except EmbeddedError as error:
            raise EncoderUnavailable(str(error)) from error

    return start
