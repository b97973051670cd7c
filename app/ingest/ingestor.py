"""Takes documents in, and indexes them: at once for who waits, else as a worker behind.

What is accepted is durable in Postgres before anybody is told so; everything after that may fail,
stop or be killed at any point, and is done again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from app.chat.encoders import EncoderNotConfigured, EncodersByName
from app.chat.model import Scope
from app.errors import AppError, InvalidInput, NotFound, Unavailable
from app.ingest.accept import check_call
from app.ingest.claims import EVERY_SECONDS, Claims
from app.ingest.embedding import Embedder
from app.ingest.indexer import Indexer, Prepare, Progress
from app.ingest.places import Places
from app.ingest.ports import Accepted, Documents, NewDocument, Upload, Vectors
from app.ingest.prepare import prepare_here
from app.ingest.pruning import Pruner

log = structlog.get_logger(__name__)

AT_ONCE = 4  # uploads worked on at the same time: one may cut while another is encoded
MAX_ATTEMPTS = 5
# Pauses of a worker while the encoder or the database is away: a minute in all.
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# A crashed process's uploads, and those accepted by processes without a worker, are found so. The
# latter are waited for: who uploads with `?wait=true` asks another process than the one that works.
POLL_SECONDS = 0.5
# Who accepts and then waits (`index`) gets to claim its own uploads before the worker does.
WAKE_DELAY_SECONDS = 0.05
# How long, and how often, to look for an upload that another process has claimed.
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.2
# Accepted uploads whose documents are remembered for that; beyond it the oldest are forgotten.
REMEMBERED = 10_000

DEADLY = (
    "Not indexed: {} times the process that worked on it ended before it was done. It may be too "
    "large for this machine; send it in parts."
)
STOPPED = "Indexing was stopped; it goes on when the service runs again."


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an upload was not indexed, for its document's owner, and whether that is the end. An
    outage is no attempt: it may take longer than any number of them."""

    sentence: str
    final: bool
    outage: bool = False


def judge(upload: Upload, error: Exception) -> Verdict:
    """Offer the upload again, or after MAX_ATTEMPTS give it up."""
    reason = (
        error.message if isinstance(error, AppError) else "something went wrong in the service."
    )
    if isinstance(error, Unavailable):
        return Verdict(f"Not indexed yet, to be tried again: {reason}", final=False, outage=True)
    if upload.attempts >= MAX_ATTEMPTS:
        return Verdict(
            f"Not indexed after {upload.attempts} attempts: {reason} Send it again.", final=True
        )
    return Verdict(f"Not indexed yet, to be tried again: {reason}", final=False)


class Ingestor:
    """`encoders` are those that this process is configured with, by name.
    `on_progress(upload, done, total)` is told of every batch of chunks that an encoder made
    vectors of. `prepare` cuts the texts: in a confined process wherever strangers send them."""

    def __init__(
        self,
        documents: Documents,
        encoders: EncodersByName,
        vectors: Vectors,
        *,
        detect: Callable[[str], str],
        chunk_chars: int,
        max_document_bytes: int,
        prepare: Prepare = prepare_here,
        on_progress: Progress | None = None,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        renew_seconds: float = EVERY_SECONDS,
        here: bool = True,
    ) -> None:
        """Where it is not `here` that texts are indexed, others are waited for who do."""
        self._documents = documents
        self._claims = Claims(documents, renew_seconds)
        self._pruner = Pruner(vectors, time.monotonic)
        self._indexer = Indexer(
            documents,
            Embedder(encoders, vectors),
            prepare=prepare,
            detect=detect,
            chunk_chars=chunk_chars,
            on_progress=on_progress,
        )
        self._max_bytes = max_document_bytes
        self._pauses = pauses_seconds
        self._wait_seconds = wait_seconds
        self._here = here
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: dict[int, asyncio.Task[None]] = {}  # by upload, while the claim is ours
        self._accepted: dict[int, tuple[Scope, int]] = {}
        self._places = Places(AT_ONCE)
        self._wake = asyncio.Event()
        self._closing = False

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        """Store the documents durably, all or none, and have the worker index them soon.

        Raises InvalidInput or TooLarge naming the first document that is wrong, and NotFound for
        the portfolio.
        """
        await asyncio.to_thread(check_call, documents, self._max_bytes)
        accepted = await self._documents.accept(scope, portfolio_id, documents)
        for each in accepted:
            if each.upload_id is not None:
                self._remember(each.upload_id, scope, each.document_id)
        asyncio.get_running_loop().call_later(WAKE_DELAY_SECONDS, self._wake.set)
        return accepted

    async def index(self, upload_ids: Sequence[int]) -> None:
        """Have these uploads indexed now; returns when they are done, wherever that happens.

        What fails is marked on its document, and left to the worker where trying again may help.
        An upload that another process holds for longer than `wait_seconds` is left to it. A
        cancelled caller stops waiting; the indexing goes on.
        """
        clock = asyncio.get_running_loop().time
        remaining = set(upload_ids)
        deadline = clock() + self._wait_seconds
        while remaining:
            if self._here:
                claimed = await self._documents.claim(len(remaining), sorted(remaining))
                self._start(claimed, patient=False)
            here = remaining & self._working.keys()
            if here:  # however long that takes: work of this process comes to an end
                await asyncio.wait([self._working[upload_id] for upload_id in here])
                deadline = clock() + self._wait_seconds
            remaining -= here
            remaining -= {upload_id for upload_id in remaining if await self._is_done(upload_id)}
            if remaining and clock() >= deadline:
                log.warning("uploads_left_to_others", uploads=sorted(remaining))
                return
            if remaining:
                await asyncio.sleep(LOOK_SECONDS)

    async def run(self) -> None:
        """The worker: index what waits, of every tenant, until `close`. Nothing that one upload
        or an outage does ends it."""
        failures = 0
        try:
            while not self._closing:
                self._wake.clear()
                try:
                    await self._pruner.prune_when_due()
                    free = max(AT_ONCE - len(self._tasks), 0)
                    uploads = await self._documents.claim(free) if free else []
                except Exception as error:  # an outage is waited for, whatever it looks like
                    self._log_failure("claim_failed", error)
                    await self._sleep(self._pauses[min(failures, len(self._pauses) - 1)])
                    failures += 1
                    continue
                failures = 0
                self._start(uploads, patient=True)
                if not uploads:
                    await self._sleep(POLL_SECONDS)
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop working; what was begun is offered again at once."""
        self._closing = True
        self._wake.set()
        await asyncio.sleep(0)  # a task that never started could not hand its upload back
        for task in self._tasks:
            if not task.cancelling():  # a second cancel would interrupt the handing back
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start(self, uploads: Sequence[Upload], *, patient: bool) -> None:
        """Begin to work on claimed uploads."""
        for upload in uploads:
            self._claims.hold(upload)
            if upload.id in self._working:  # the claim lapsed while it was still worked on
                continue
            task = asyncio.create_task(self._work(upload, patient), name=f"upload:{upload.id}")
            self._working[upload.id] = task
            self._tasks.add(task)
            task.add_done_callback(partial(self._finished, upload.id))

    def _finished(self, upload_id: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._working.get(upload_id) is task:
            self._let_go(upload_id)
        self._wake.set()  # the worker has a free place
        if not task.cancelled() and task.exception() is not None:
            log.error("upload_crashed", upload=upload_id, exc_info=task.exception())

    async def _work(self, upload: Upload, patient: bool) -> None:
        """Index one upload, or mark on its document why not."""
        try:
            verdict = await self._attempt(upload, self._pauses if patient else ())
        except asyncio.CancelledError:
            await self._end(upload, self._documents.give_back(upload, STOPPED, later=False))
            raise
        if verdict is None:
            return
        if verdict.outage:
            end = self._documents.give_back(upload, verdict.sentence, later=True)
        else:
            end = self._documents.fail(upload, verdict.sentence, final=verdict.final)
        await self._end(upload, end)

    async def _attempt(self, upload: Upload, pauses: Sequence[float]) -> Verdict | None:
        if upload.attempts > MAX_ATTEMPTS:  # no process has lived to say why
            return Verdict(DEADLY.format(upload.attempts - 1), final=True)
        try:
            async with self._places.place(alone=upload.attempts > 1):
                await self._indexer.index(upload, pauses)
        except EncoderNotConfigured as error:
            log.warning("upload_left_to_others", upload=upload.id, reason=error.message)
            await self._documents.leave(upload, f"Waiting: {error.message}")
        except InvalidInput as error:
            return Verdict(error.message, final=True)
        except Exception as error:  # one bad upload must not stop the others
            self._log_failure("upload_failed", error, upload=upload.id, attempt=upload.attempts)
            verdict = judge(upload, error)
            if pauses and not verdict.final and not verdict.outage:
                await asyncio.sleep(pauses[min(upload.attempts, len(pauses)) - 1])
            return verdict
        return None

    async def _end(self, upload: Upload, end: Awaitable[None]) -> None:
        # Given up before it is offered again: whoever claims it next may be this process.
        self._let_go(upload.id)
        try:
            await end
        except Exception as error:  # the claim lapses by itself and the upload is offered again
            self._log_failure("upload_not_released", error, upload=upload.id)

    def _let_go(self, upload_id: int) -> None:
        del self._working[upload_id]
        self._claims.let_go(upload_id)

    async def _is_done(self, upload_id: int) -> bool:
        """Whether an upload that is not to be had any more has come to an end elsewhere."""
        if upload_id not in self._accepted:
            return True
        scope, document_id = self._accepted[upload_id]
        try:
            record = await self._documents.get(scope, document_id)
        except NotFound:
            return True
        return record.status != "pending"

    def _remember(self, upload_id: int, scope: Scope, document_id: int) -> None:
        self._accepted[upload_id] = (scope, document_id)
        if len(self._accepted) > REMEMBERED:
            del self._accepted[next(iter(self._accepted))]

    async def _sleep(self, seconds: float) -> None:
        """Until somebody wakes the worker, but no longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _log_failure(self, event: str, error: Exception, **values: object) -> None:
        """An outage is a line; anything else needs its traceback."""
        if isinstance(error, AppError):
            log.warning(event, code=error.code, reason=error.message, **values)
        else:
            log.error(event, exc_info=error, **values)
