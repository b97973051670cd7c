"""Has the model encode one batch at a time and hands each caller its vectors.

A model need not be thread-safe, and the event loop must stay free: it only queues, picks the next
batch and answers. A lone query is encoded at once, without waiting for company.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic  # the event loop's own clock counts whole milliseconds only
from typing import TypeAlias

from app.encoder.backend import Backend, Encoded, EncodingFailed, InputType, ModelFailed, ModelInfo
from app.encoder.batching import Item, Job, Limits, Waiting
from app.encoder.metrics import EncoderMetrics
from app.encoder.pace import Pace

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """The model is not loaded yet, or the service is stopping."""


class Overloaded(Exception):
    """Too many texts wait already; they will be done after so many seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("Too many texts wait.")


@dataclass(frozen=True, slots=True)
class Result:
    """The vectors of a request in its order (see `Encoded`), the tokens of all its texts, and how
    many of these were truncated."""

    vectors: Sequence[bytes]
    tokens: int
    truncated: int = 0


Caller: TypeAlias = "asyncio.Future[Result]"


class Batcher:
    """Joins the texts of all requests into batches.

    `start()` loads the model; until then, and after `stop()`, `submit` raises NotReady. `limits`
    are those for a device.
    """

    def __init__(
        self,
        load: Callable[[], Backend],
        limits: Callable[[str], Limits] = Limits.for_device,
        metrics: EncoderMetrics | None = None,
    ) -> None:
        self._load = load
        self._limits = limits
        self.metrics = metrics or EncoderMetrics()
        self._pace = Pace()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._backend: Backend | None = None
        self._waiting: Waiting | None = None
        self._callers: dict[Job, Caller] = {}
        self._running: Sequence[Item] = ()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def info(self) -> ModelInfo | None:
        """What is loaded; None while nothing can be encoded."""
        return None if self._backend is None or self._waiting is None else self._backend.info

    async def start(self) -> ModelInfo:
        """Load and warm the model in its thread. Raises ModelUnusable."""
        loop = asyncio.get_running_loop()
        backend = await loop.run_in_executor(self._thread, self._load)
        limits = self._limits(backend.info.device)
        waiting = Waiting(limits, backend.info.max_tokens or limits.batch_tokens)
        self.metrics.loaded(backend.info, waiting.count)
        self._backend, self._waiting = backend, waiting
        self._worker = asyncio.create_task(self._work(backend, waiting))
        return backend.info

    def submit(self, texts: Sequence[str], input_type: InputType) -> Caller:
        """Queue the texts; cancelling the future takes them out again.

        The future raises EncodingFailed (ModelFailed where the text need not be why) or NotReady.
        Raises NotReady and Overloaded.
        """
        waiting = self._waiting
        if waiting is None:
            raise NotReady
        loop = asyncio.get_running_loop()
        job = Job(tuple(texts), input_type)
        if not waiting.add(job, monotonic()):
            self.metrics.rejected(input_type)
            raise Overloaded(self._pace.retry_after(waiting.tokens(input_type)))
        caller: Caller = loop.create_future()
        self._callers[job] = caller
        caller.add_done_callback(lambda caller: self._forget(job, caller, waiting))
        self._arrived.set()
        return caller

    async def stop(self, grace_seconds: float) -> None:
        """Refuse what waits; let the batch that runs finish, but not for longer than this."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._fail(waiting.drain(), NotReady())
        jobs = {item.job for item in self._running}
        if callers := [self._callers[job] for job in jobs if job in self._callers]:
            await asyncio.wait(callers, timeout=grace_seconds)
            self._fail(jobs, NotReady())
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False)

    async def _work(self, backend: Backend, waiting: Waiting) -> None:
        while True:
            await self._arrived.wait()
            if pause := self._pace.pause(monotonic()):
                await asyncio.sleep(pause)
            self._running = waiting.take()
            if not self._running:
                self._arrived.clear()
                continue
            try:
                await self._encode(backend, self._running)
            except Exception as error:  # the worker outlives whatever a model raises
                if len(self._running) == 1:
                    self._give_up(self._running[0], error)
                else:
                    logger.warning(
                        "A batch of %d texts failed (%s); they are encoded one by one.",
                        len(self._running),
                        error,
                    )
                    await self._encode_one_by_one(backend, self._running)

    async def _encode(self, backend: Backend, batch: Sequence[Item]) -> None:
        loop = asyncio.get_running_loop()
        texts = [item.text for item in batch]
        kind = batch[0].job.input_type
        start = monotonic()
        encoded = await loop.run_in_executor(self._thread, backend.encode, texts, kind)
        end = monotonic()
        self._deliver(batch, encoded)
        # Afterwards: the callers go on first.
        requests = len({item.job for item in batch})
        self._pace.note(sum(item.cost for item in batch), requests, start, end)
        waits = (start - item.since for item in batch)
        self.metrics.batch(kind, encoded.tokens, waits, end - start)
        self.metrics.truncated(sum(encoded.truncated))

    async def _encode_one_by_one(self, backend: Backend, batch: Sequence[Item]) -> None:
        """One text that the model cannot bear must not cost the others theirs."""
        for item in batch:
            if item.job in self._callers:
                try:
                    await self._encode(backend, [item])
                except Exception as error:
                    self._give_up(item, error)

    def _deliver(self, batch: Sequence[Item], encoded: Encoded) -> None:
        results = zip(batch, encoded.vectors, encoded.tokens, encoded.truncated, strict=True)
        for item, vector, tokens, truncated in results:
            job = item.job
            job.put(item.index, vector, tokens, truncated)
            if not job.missing and job in self._callers:
                result = Result(job.vectors, job.tokens, job.truncated)
                self._callers.pop(job).set_result(result)

    def _give_up(self, item: Item, error: Exception) -> None:
        logger.error("A text could not be encoded.", exc_info=error)
        self.metrics.failed(item.job.input_type)
        kind = EncodingFailed if isinstance(error, EncodingFailed) else ModelFailed
        self._fail([item.job], kind(str(error), item.index))
        if self._waiting is not None:  # at once: the next batch is taken before callbacks run
            self._waiting.remove(item.job)

    def _fail(self, jobs: Iterable[Job], error: Exception) -> None:
        for job in jobs:
            if caller := self._callers.pop(job, None):
                caller.set_exception(error)

    def _forget(self, job: Job, caller: Caller, waiting: Waiting) -> None:
        self._callers.pop(job, None)
        if job.missing:
            waiting.remove(job)
        if caller.cancelled():
            self.metrics.cancelled(job.input_type)
