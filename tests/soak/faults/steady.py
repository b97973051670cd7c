"""Short requests without a pause while something happens, and what each of them was told."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2

# A little longer than any deadline of the service's own.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Told:
    """One request: when it was sent and when it was over (`time.monotonic`), the status and the
    JSON that came. Without a status the connection was refused or lost, as `lost` says."""

    what: str
    sent: float
    over: float
    status: int | None
    body: Any = None
    lost: str = ""

    @property
    def good(self) -> bool:
        return self.status is not None and self.status < 300


async def tell(http: httpx2.AsyncClient, what: str, method: str, url: str, **request: Any) -> Told:
    """Send it once, and wait for what becomes of it."""
    sent = time.monotonic()
    status, body, lost = None, None, ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await http.request(method, url, **request)
        status = answer.status_code
        body = answer.json()
    except (httpx2.HTTPError, TimeoutError, ValueError) as error:
        lost = type(error).__name__
    return Told(what, sent, time.monotonic(), status, body, lost)


@asynccontextmanager
async def steadily(
    visitors: int, pause_seconds: float, request: Callable[[int], Awaitable[Told]]
) -> AsyncIterator[list[Told]]:
    """So many visitors, each with one request after the other, until the block is over; what has
    been told so far. `request` is given a number of its own."""
    told: list[Told] = []
    numbers, over = count(), asyncio.Event()

    async def visit() -> None:
        while not over.is_set():
            told.append(await request(next(numbers)))
            await asyncio.sleep(pause_seconds)

    async with asyncio.TaskGroup() as group:
        for _ in range(visitors):
            group.create_task(visit())
        try:
            yield told
        finally:
            over.set()
