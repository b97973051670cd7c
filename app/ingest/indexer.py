"""One upload from its text to its chunks and vectors in the database."""

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog

from app.chat.encoders import EncoderNotConfigured
from app.chat.model import Vector
from app.errors import Unavailable
from app.ingest.embedding import Embedder
from app.ingest.errors import EncodersChanged
from app.ingest.ports import Documents, Upload
from app.ingest.prepare import Prepared

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

BATCH = 32  # texts in one call of the encoder
# The portfolio's encoders may change between encoding and storing: then once more, and in case of a
# change back once more again.
ENCODER_CHANGES = 3

Progress = Callable[[Upload, int, int], None]
# An upload, the length of its chunks, and what tells its language.
Prepare = Callable[[Upload, int, Callable[[str], str]], Awaitable[Prepared]]


class Indexer:
    """Cuts, encodes and stores; what fails is raised. `prepare` cuts, `on_progress(upload, done,
    total)` is told of every batch of chunks that an encoder made vectors of."""

    def __init__(
        self,
        documents: Documents,
        embedder: Embedder,
        *,
        prepare: Prepare,
        detect: Callable[[str], str],
        chunk_chars: int,
        on_progress: Progress | None,
    ) -> None:
        self._documents = documents
        self._embedder = embedder
        self._prepare = prepare
        self._detect = detect
        self._chunk_chars = chunk_chars
        self._on_progress = on_progress

    async def index(self, upload: Upload, pauses: Sequence[float]) -> None:
        """Make the upload its document's text, trying again after each pause while the encoder or
        the database is away. EncoderNotConfigured at once, EncodersChanged where the portfolio's
        encoders never stay the same."""
        prepare = partial(self._prepare, upload, self._chunk_chars, self._detect)
        ready = await self._outlast(prepare, pauses, upload)
        vectors: dict[str, Sequence[Vector]] = {}
        for _ in range(ENCODER_CHANGES):
            ask = partial(self._documents.encoders, upload)
            for encoder in await self._outlast(ask, pauses, upload):
                if encoder not in vectors:
                    vectors[encoder] = await self._encode(upload, encoder, ready.to_encode, pauses)
            store = partial(self._documents.index, upload, ready.language, ready.chunks, vectors)
            try:
                return await self._outlast(store, pauses, upload)
            except EncodersChanged:
                continue
        raise EncodersChanged

    async def _encode(
        self, upload: Upload, encoder: str, texts: Sequence[str], pauses: Sequence[float]
    ) -> Sequence[Vector]:
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            embed = partial(self._embedder.embed, upload.scope, encoder, batch)
            # Packed: as lists, those of a few large documents would be gigabytes.
            vectors += [array("f", each) for each in await self._outlast(embed, pauses, upload)]
            if self._on_progress is not None:
                self._on_progress(upload, len(vectors), len(texts))
        return vectors

    async def _outlast(
        self, step: Callable[[], Awaitable[Result]], pauses: Sequence[float], upload: Upload
    ) -> Result:
        """Do a step, again after each pause while what it needs is away."""
        for pause in pauses:
            try:
                return await step()
            except EncoderNotConfigured:  # waiting does not help, and would keep a place
                raise
            except Unavailable as error:
                log.warning("upload_waits", upload=upload.id, code=error.code, seconds=pause)
                await asyncio.sleep(pause)
        return await step()
