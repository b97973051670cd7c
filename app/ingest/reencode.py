"""Every portfolio, or some, from one encoder to another, while both are in use.

Marked first, so that whatever is indexed from then on has both encoders' vectors; then what was
there before is filled in; then the portfolio is switched, in one transaction; then the old vectors
go. A search sees one encoder's vectors and all of them at any time. It may be stopped or killed
anywhere and started again, and several processes may do it at once: what is left to do is always
asked for.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from app.chat.model import Scope
from app.errors import Conflict, NotFound, Unavailable
from app.ingest.embedding import Embedder
from app.ingest.ports import MissingVectors, PortfolioEncoders, Reencoding
from app.ingest.prepare import to_encode

log = structlog.get_logger(__name__)
Result = TypeVar("Result")

BATCH = 64  # chunks encoded in one call and stored in one transaction
BATCHES_A_PAGE = 16  # read at once: a long document is read as often as it has pages
AT_ONCE = 2  # one batch is read or stored while another is encoded
DROPPED_AT_ONCE = 2_000
# What is missing still is in documents that are being replaced or deleted just now.
LOOK_SECONDS = 0.2
START: int | None = 0  # below every chunk's id
# While the encoder or the database is away; then it is time to say so.
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

# What is being done, how much of it is, and how much there is to do.
OnProgress = Callable[[str, int, int], None]
Chunk = tuple[int, str]


@dataclass(slots=True)
class Outcome:
    """What a run did itself: portfolios switched, vectors added, old vectors dropped."""

    switched: int = 0
    added: int = 0
    dropped: int = 0


class Reencoder:
    """Brings portfolios to `encoder`, which the database must be prepared for.

    `retire` frees what is kept for encoders other than those named. `scopes` are all tenants'.
    """

    def __init__(
        self,
        reencoding: Reencoding,
        embedder: Embedder,
        encoder: str,
        *,
        scopes: Sequence[Scope],
        retire: Callable[[Collection[str]], Awaitable[None]],
        batch: int = BATCH,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        self.encoder = encoder
        self._reencoding = reencoding
        self._embedder = embedder
        self._scopes = scopes
        self._retire = retire
        self._batch = batch
        self._pauses = pauses_seconds
        self._done = self._total = 0
        self._on_progress: OnProgress = lambda *_: None

    async def run(
        self, name: str | None = None, on_progress: OnProgress = lambda *_: None
    ) -> Outcome:
        """Switch every portfolio, or those of this name, and drop the old vectors.

        Raises NotFound where there is no portfolio of the name, Conflict where somebody else
        brings one to yet another encoder, and EncoderUnavailable or DatabaseUnavailable when
        waiting for it was in vain.
        """
        self._on_progress = on_progress
        outcome = Outcome()
        if name is not None and not await self._portfolios(name):
            raise NotFound(f"There is no portfolio “{name}”.")
        # Again, for portfolios that were made meanwhile by processes that began before this.
        while pending := [each for each in await self._portfolios(name) if self._is_pending(each)]:
            await self._bring(pending, outcome)
        self._on_progress("Dropping old vectors", self._total, self._total)
        used = {self.encoder}
        for portfolio in await self._portfolios(None):
            used |= {portfolio.encoder, portfolio.next_encoder or portfolio.encoder}
        await self._retire(used)
        for portfolio in await self._portfolios(name):
            outcome.dropped += await self._drop_old(portfolio)
        return outcome

    async def _portfolios(self, name: str | None) -> list[PortfolioEncoders]:
        found: list[PortfolioEncoders] = []
        for scope in self._scopes:
            found += await self._outlast(partial(self._reencoding.portfolios, scope))
        return [each for each in found if name in (None, each.name)]

    def _is_pending(self, portfolio: PortfolioEncoders) -> bool:
        return portfolio.encoder != self.encoder or portfolio.next_encoder is not None

    async def _bring(self, pending: Sequence[PortfolioEncoders], outcome: Outcome) -> None:
        for portfolio in pending:  # all of them first: then no document is encoded for nothing
            await self._outlast(partial(self._reencoding.mark, portfolio, self.encoder))
        to_fill = [each for each in pending if each.encoder != self.encoder]
        shares = [
            await self._outlast(partial(self._reencoding.count_missing, each, self.encoder))
            for each in to_fill
        ]
        self._done, self._total = 0, sum(shares)
        ends = 0
        for portfolio, share in zip(to_fill, shares, strict=True):
            await self._fill(portfolio, outcome)
            ends += share  # other processes did some of it, and some was deleted
            self._done = ends

    async def _fill(self, portfolio: PortfolioEncoders, outcome: Outcome) -> None:
        """Make the vectors that are missing, and switch."""
        while True:
            stored = await self._pass(portfolio)
            outcome.added += stored
            if await self._outlast(partial(self._reencoding.switch, portfolio, self.encoder)):
                outcome.switched += 1
                return
            if await self._is_settled(portfolio):
                return
            if not stored:
                await asyncio.sleep(LOOK_SECONDS)

    async def _is_settled(self, portfolio: PortfolioEncoders) -> bool:
        """Whether another process has switched the portfolio, or it is gone."""
        for now in await self._outlast(partial(self._reencoding.portfolios, portfolio.scope)):
            if now.id == portfolio.id and now.encoder != self.encoder:
                if now.next_encoder == self.encoder:
                    return False
                raise Conflict(
                    f"Somebody else is bringing the portfolio “{now.name}” to another encoder "
                    f"({now.next_encoder or now.encoder}) at the same time."
                )
        return True

    async def _pass(self, portfolio: PortfolioEncoders) -> int:
        """Once through all that is missing; how many vectors were stored."""
        stored = after = 0
        while page := await self._outlast(
            partial(
                self._reencoding.missing,
                portfolio,
                self.encoder,
                after,
                self._batch * BATCHES_A_PAGE,
            )
        ):
            after = max(max(each.chunk_ids) for each in page)
            chunks = await asyncio.to_thread(to_chunks, page)
            batches = [chunks[at : at + self._batch] for at in range(0, len(chunks), self._batch)]
            # Two processes at one page take its batches in different orders, and find what the
            # other has encoded among the vectors that are kept.
            random.shuffle(batches)
            slots = asyncio.Semaphore(AT_ONCE)
            stored += sum(await all_of([self._add(portfolio, batch, slots) for batch in batches]))
        return stored

    async def _add(
        self, portfolio: PortfolioEncoders, chunks: Sequence[Chunk], slots: asyncio.Semaphore
    ) -> int:
        async with slots:
            ids, texts = [number for number, _ in chunks], [text for _, text in chunks]
            embed = partial(self._embedder.embed, portfolio.scope, self.encoder, texts)
            vectors = await self._outlast(embed)
            add = partial(self._reencoding.add, portfolio, self.encoder, ids, vectors)
            stored = await self._outlast(add)
        self._done = min(self._done + len(ids), self._total)
        self._on_progress(portfolio.name, self._done, self._total)
        return stored

    async def _drop_old(self, portfolio: PortfolioEncoders) -> int:
        dropped, after = 0, START
        while after is not None:
            drop = partial(self._reencoding.drop_old, portfolio, after, DROPPED_AT_ONCE)
            some, after = await self._outlast(drop)
            dropped += some
        return dropped

    async def _outlast(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Do a step, again after each pause while what it needs is away."""
        for pause in self._pauses:
            try:
                return await step()
            except Unavailable as error:
                log.warning("reencoding_waits", code=error.code, seconds=pause)
                await asyncio.sleep(pause)
        return await step()


async def all_of(steps: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Their results; the first error ends the others and is raised as it is."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def to_chunks(page: Sequence[MissingVectors]) -> list[Chunk]:
    """Each chunk's id and what the encoder reads for it."""
    return [
        chunk
        for each in page
        for chunk in zip(each.chunk_ids, to_encode(each.title, each.text, each.spans), strict=True)
    ]
