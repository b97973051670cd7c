"""Runs the reranker in one thread of its own, request after request.

Not in the encoder's: a question to be embedded would wait for the batch of pairs that runs. In
threads of their own both models go on at the same time, and the kernel shares the processor out.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry

from app.encoder.batcher import NotReady, Overloaded
from app.encoder.batching import Limits
from app.encoder.pace import Pace
from app.encoder.rerank import PairTooLong, RerankBackend, RerankerInfo, RerankFailed, batches
from app.encoder.rerank_metrics import RerankMetrics

logger = logging.getLogger(__name__)

# Some fifty seconds of one core: whoever came later than that would have left by then.
MAX_WAITING = 1024


@dataclass(eq=False, frozen=True, slots=True)
class Job:
    """A request and who waits for its scores."""

    query: str
    texts: Sequence[str]
    truncate: bool
    since: float
    caller: "asyncio.Future[Sequence[float]]"


class RerankQueue:
    """`find` gives the model's folder, `load` the model in it; both run in the model's thread.

    Until `start()` has returned, and after `stop()`, `submit` raises NotReady.
    """

    def __init__(
        self,
        find: Callable[[], Path],
        load: Callable[[Path], RerankBackend],
        registry: CollectorRegistry,
    ) -> None:
        self._find = find
        self._load = load
        self._metrics = RerankMetrics(registry)
        self._pace = Pace()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reranker")
        self._folder: Path | None = None
        self._backend: RerankBackend | None = None
        self._jobs: dict[Job, None] = {}
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def info(self) -> RerankerInfo | None:
        """What is loaded; None while nothing can be ranked."""
        return None if self._backend is None else self._backend.info

    async def find(self) -> None:
        """Find the model, or fetch it: before any model's libraries are told to stay offline.
        Raises ModelUnusable."""
        self._folder = await self._call(self._find)

    async def start(self) -> RerankerInfo:
        """Load the model that was found. Raises ModelUnusable."""
        backend = await self._call(self._load, self._folder)
        self._metrics.loaded(backend.info, self._waiting)
        self._backend = backend
        self._worker = asyncio.create_task(self._work(backend))
        info: RerankerInfo = backend.info
        return info

    def submit(
        self, query: str, texts: Sequence[str], truncate: bool = True
    ) -> "asyncio.Future[Sequence[float]]":
        """Queue a request; cancelling the future takes it out again, also between its batches.

        The future has a number for each text, higher is better. It raises RerankFailed,
        PairTooLong (unless `truncate`) or NotReady. Raises NotReady and Overloaded.
        """
        if self._backend is None:
            raise NotReady
        waiting = self._waiting()
        if waiting + len(texts) > MAX_WAITING:
            self._metrics.rejected()
            raise Overloaded(self._pace.retry_after(waiting))
        caller = asyncio.get_running_loop().create_future()
        job = Job(query, texts, truncate, monotonic(), caller)
        self._jobs[job] = None
        caller.add_done_callback(lambda _: self._forget(job))
        self._arrived.set()
        return caller

    def stop(self) -> None:
        """Refuse what waits and what runs."""
        self._backend = None
        for job in list(self._jobs):
            _fail(job, NotReady())
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False)

    async def _work(self, backend: RerankBackend) -> None:
        while True:
            await self._arrived.wait()
            job = next(iter(self._jobs), None)
            if job is None:
                self._arrived.clear()
                continue
            self._metrics.began(monotonic() - job.since)
            try:
                scores = await self._score(backend, job)
            except PairTooLong as error:
                _fail(job, error)
            except Exception as error:  # the worker outlives whatever a model raises
                logger.error("A request could not be ranked.", exc_info=error)
                self._metrics.failed()
                _fail(job, error if isinstance(error, RerankFailed) else RerankFailed(str(error)))
            else:
                if not job.caller.done():
                    job.caller.set_result(scores)
            self._jobs.pop(job, None)  # at once: the callback comes later

    async def _score(self, backend: RerankBackend, job: Job) -> Sequence[float]:
        max_tokens = backend.info.max_tokens
        if not job.truncate:
            index = await self._call(backend.first_too_long, job.query, job.texts)
            if index is not None:
                raise PairTooLong(index, max_tokens)
        limits = Limits.for_device(backend.info.device)
        scores = [0.0] * len(job.texts)
        for batch in batches(job.query, job.texts, max_tokens, limits):
            if job.caller.done():
                break
            start = monotonic()
            texts = [job.texts[index] for index in batch]
            numbers = await self._call(backend.score, job.query, texts)
            end = monotonic()
            self._pace.note(len(batch), 1, start, end)
            self._metrics.batch(len(batch), end - start)
            for index, number in zip(batch, numbers, strict=True):
                if not math.isfinite(number):
                    raise RerankFailed("The score is not a number.", index)
                scores[index] = number
        return scores

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    def _waiting(self) -> int:
        """Texts of requests that are not answered yet."""
        return sum(len(job.texts) for job in self._jobs)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job, None)
        if job.caller.cancelled():
            self._metrics.cancelled()


def _fail(job: Job, error: Exception) -> None:
    if not job.caller.done():
        job.caller.set_exception(error)
