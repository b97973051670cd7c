"""The encoder as a library: the same batching in this process, without a service."""

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from app.chat.model import Vector
from app.encoder.backend import (
    DEFAULT_BACKEND,
    DEFAULT_MODEL,
    EncodingFailed,
    InputType,
    ModelInfo,
)
from app.encoder.batcher import Batcher, Caller
from app.encoder.batching import Limits
from app.encoder.loading import DEFAULT_CACHE, BackendName, load_backend
from app.encoder.metrics import EncoderMetrics, Statistics
from app.encoder.wire import unpack_floats
from app.errors import InvalidInput

# Texts of a call that are queued together, twice that at a time: enough for full batches, few
# enough that other calls get their turn.
PART = 1024
# A batch that runs is waited for when the program ends, but not for longer than this.
GRACE_SECONDS = 5.0


class BatchEmbedder:
    """Encodes what all tasks of a program bring in common batches.

        async with BatchEmbedder() as embedder:
            vector = await embedder.embed_text("Which projects use React?")
            vectors = await embedder.embed_batch(texts)
            print(embedder.statistics().mean_batch)

    The arguments are those of `load_backend`. Entering loads the model, in a thread of its own,
    and raises ModelUnusable. Any number of calls may wait; one that is cancelled takes its texts
    out of the queue again.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        threads: int = 0,
        backend: BackendName = DEFAULT_BACKEND,
        cache: str | Path = DEFAULT_CACHE,
    ) -> None:
        self._metrics = EncoderMetrics()
        self._batcher = Batcher(
            lambda: load_backend(model, device, threads, backend, cache), _limits, self._metrics
        )

    @property
    def info(self) -> ModelInfo:
        """The loaded model. Raises RuntimeError outside of `async with`."""
        if self._batcher.info is None:
            raise RuntimeError("The embedder is only loaded inside of `async with`.")
        return self._batcher.info

    async def embed_text(self, text: str, input_type: InputType = "query") -> Vector:
        """The vector of a text, of length 1. Raises InvalidInput for an empty text,
        EncodingFailed where the model cannot encode it (ModelFailed where the text need not be
        why), NotReady outside of `async with`."""
        return (await self.embed_batch([text], input_type))[0]

    async def embed_batch(
        self, texts: Sequence[str], input_type: InputType = "document"
    ) -> list[Vector]:
        """The vectors of any number of texts, in their order. Raises what `embed_text` does; an
        EncodingFailed carries the `index` of its text."""
        if "" in texts:
            raise InvalidInput("A text is empty; an empty text has no vector.")
        vectors: list[Vector] = []
        queued: deque[Caller] = deque()
        try:
            for start in range(0, len(texts), PART):
                queued.append(self._batcher.submit(texts[start : start + PART], input_type))
                if len(queued) > 1:
                    await _collect(queued, vectors)
            while queued:
                await _collect(queued, vectors)
        finally:
            for caller in queued:
                caller.cancel()
        return vectors

    def statistics(self) -> Statistics:
        """What has been encoded so far, and what waits."""
        return self._metrics.statistics()

    async def __aenter__(self) -> Self:
        await self._batcher.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._batcher.stop(GRACE_SECONDS)


async def _collect(queued: deque[Caller], vectors: list[Vector]) -> None:
    """Add the vectors of the first part, which leaves the queue."""
    try:
        result = await queued[0]
    except EncodingFailed as error:
        index = None if error.index is None else len(vectors) + error.index
        raise type(error)(str(error), index) from error
    queued.popleft()
    vectors += map(unpack_floats, result.vectors)


def _limits(device: str) -> Limits:
    """Those of the service without its bounds: the program itself holds the texts already, and
    nobody gains from refusing it."""
    return replace(
        Limits.for_device(device), waiting_queries=sys.maxsize, waiting_documents=sys.maxsize
    )
