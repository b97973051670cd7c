"""Runs the model in one thread of its own and hands each caller its vectors.

The model is not thread-safe, and the event loop must stay free: it only queues, picks the next
batch and answers. A lone query is encoded at once, without waiting for company.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from app.encoder.backend import Backend, Encoded, EncodingFailed, InputType, ModelInfo
from app.encoder.batching import Item, Job, Limits, Waiting

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """The model is not loaded yet, or the service is stopping."""


class Overloaded(Exception):
    """Too many texts wait already."""


@dataclass(frozen=True, slots=True)
class Result:
    """The vectors of a request in its order (see `Encoded`), and the tokens of all its texts."""

    vectors: Sequence[bytes]
    tokens: int


Caller: TypeAlias = "asyncio.Future[Result]"


class Batcher:
    """Joins the texts of all requests into batches.

    `start()` loads the model; until then, and after `stop()`, `submit` raises NotReady.
    """

    def __init__(self, load: Callable[[], Backend], limits: Limits | None = None) -> None:
        self._load = load
        self._limits = limits
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
        limits = self._limits or Limits.for_device(backend.info.device)
        self._backend = backend
        self._waiting = Waiting(limits, backend.info.max_tokens or limits.batch_tokens)
        self._worker = asyncio.create_task(self._work(backend, self._waiting))
        return backend.info

    def submit(self, texts: Sequence[str], input_type: InputType) -> Caller:
        """Queue the texts; cancelling the future takes them out again.

        The future raises EncodingFailed or NotReady. Raises NotReady and Overloaded.
        """
        waiting = self._waiting
        if waiting is None:
            raise NotReady
        job = Job(tuple(texts), input_type)
        if not waiting.add(job):
            raise Overloaded
        caller: Caller = asyncio.get_running_loop().create_future()
        self._callers[job] = caller
        caller.add_done_callback(lambda _: self._forget(job, waiting))
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
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._running = waiting.take()
            if not self._running:
                self._arrived.clear()
                continue
            texts = [item.text for item in self._running]
            input_type = self._running[0].job.input_type
            try:
                self._deliver(
                    await loop.run_in_executor(self._thread, backend.encode, texts, input_type)
                )
            except Exception as error:  # the worker outlives whatever a model raises
                logger.exception("A batch of %d texts could not be encoded.", len(texts))
                self._fail({item.job for item in self._running}, EncodingFailed(str(error)))

    def _deliver(self, encoded: Encoded) -> None:
        results = zip(self._running, encoded.vectors, encoded.tokens, strict=True)
        for item, vector, tokens in results:
            job = item.job
            job.put(item.index, vector, tokens)
            if not job.missing and job in self._callers:
                self._callers.pop(job).set_result(Result(job.vectors, job.tokens))

    def _fail(self, jobs: Iterable[Job], error: Exception) -> None:
        for job in jobs:
            if caller := self._callers.pop(job, None):
                caller.set_exception(error)

    def _forget(self, job: Job, waiting: Waiting) -> None:
        self._callers.pop(job, None)
        if job.missing:
            waiting.remove(job)
