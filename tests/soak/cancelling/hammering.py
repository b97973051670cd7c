"""Cancelling calls of shared stores at any moment, and looking at every value that they give."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

from app.errors import AppError
from tests.soak.cancelling.calls import Belongs, Calls

CANCELLED, READ, MISMATCHES, FAILED = "cancelled", "read", "mismatches", "failed"
AT_ONCE = 60
CANCELS = 0.8  # the share of calls
STEPS = 40  # of the loop, within which a call is cancelled while nothing has come yet
TELL_SECONDS = 0.25
BASELINE_SECONDS = 5.0
POLL_SECONDS = 0.01
EXAMPLES = 10


class Hammer:
    """Calls at random, most of them cancelled, until enough were."""

    def __init__(
        self,
        calls: Calls,
        chance: random.Random,
        longest_seconds: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        """`longest_seconds`: how long a call takes about now, within which it is cancelled."""
        self._calls = calls
        self._chance = chance
        self._longest = longest_seconds
        self._note = note
        self.of: Counter[str] = Counter()

    async def until(self, cancels: int) -> None:
        """Go on until so many calls were cancelled."""

        async def client() -> None:
            while self.of[CANCELLED] < cancels:
                await self._call()

        telling = asyncio.create_task(self._tell())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(client())
        finally:
            telling.cancel()
            await asyncio.wait({telling})

    async def baseline(self) -> float:
        """Seconds until nothing has a connection any more."""
        began = time.monotonic()
        for _ in range(round(2 * BASELINE_SECONDS / POLL_SECONDS)):
            if not self._calls.in_use():
                break
            await asyncio.sleep(POLL_SECONDS)
        return time.monotonic() - began

    async def _call(self) -> None:
        tenant = self._chance.choice(self._calls.tenants)
        call = self._chance.choice(self._calls.every)
        task = asyncio.ensure_future(call(tenant))
        if self._chance.random() < CANCELS:
            await self._some_time(task)
            task.cancel()
        await asyncio.wait({task})
        if task.cancelled():
            self.of[CANCELLED] += 1
        elif isinstance(error := task.exception(), AppError):
            self.of[FAILED] += 1
        elif error is not None:  # what came was no answer to this call at all
            self._mismatch(f"{call.__name__} for {tenant.mark} ended in {error!r}.")
        elif (belongs := task.result()) is not None:
            self.of[READ] += 1
            if not belongs:
                self._mismatch(f"{call.__name__} gave {tenant.mark} another's value.")

    def _mismatch(self, what: str) -> None:
        self.of[MISMATCHES] += 1
        if self.of[MISMATCHES] <= EXAMPLES:
            self._note(what)

    async def _some_time(self, task: "asyncio.Future[Belongs]") -> None:
        """Part of the time that a call takes: a few steps of the loop, or milliseconds."""
        if self._chance.random() < 0.5:
            for _ in range(self._chance.randrange(STEPS)):
                await asyncio.sleep(0)
        else:
            await asyncio.wait({task}, timeout=self._chance.uniform(0, self._longest()))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self._calls.tell_more()
