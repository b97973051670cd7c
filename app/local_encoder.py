"""A local encoder for the time that the configured one is away; a process, so no torch in ours."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from app.embedded import EmbeddedError
from app.embedded.encoder import Encoder
from app.encoder.client import EncoderClient
from app.errors import EncoderUnavailable
from app.settings import Settings
from app.zero_setup import encoder_command

StartLocal = Callable[[], AbstractAsyncContextManager[EncoderClient]]


def local_encoder(settings: Settings) -> StartLocal | None:
    """How to start one of the configured model; None where none is installed."""
    if find_spec("sentence_transformers") is None:
        return None

    @asynccontextmanager
    async def start() -> AsyncIterator[EncoderClient]:
        with tempfile.TemporaryDirectory(prefix="citestream-") as folder:
            encoder = Encoder(Path(folder), Path(folder), encoder_command(settings))
            try:
                await encoder.start()
                client = await EncoderClient.connect(
                    encoder.url, timeout_seconds=settings.encoder.timeout_seconds
                )
                async with client:
                    yield client
            except EmbeddedError as error:
                raise EncoderUnavailable(str(error)) from error
            finally:
                encoder.stop()

    return start
