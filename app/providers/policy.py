"""One policy around any provider: attempts, a breaker and a fallback, all before the first token.

From the first token on an answer is one call's: it ends as that call ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from app.chat.ports import Finish, Prompt, Provider
from app.errors import (
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnavailable,
)
from app.providers.breaker import Breaker
from app.providers.relay import too_late

log = structlog.get_logger(__name__)

Item: TypeAlias = list[str] | Finish
Stream: TypeAlias = AsyncGenerator[Item, None]

# What another attempt may mend. A refusal stays one, and a deadline that has passed has passed.
PASSING = (ProviderUnavailable, ProviderRateLimited, ProviderTruncated)
# What `degraded` says of an answer that the fallback gave.
DEGRADED = "provider"


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a call is tried. `first_token_seconds` covers every attempt and the pauses."""

    retries: int = 2
    backoff_seconds: float = 0.25
    first_token_seconds: float = 20.0


def pause(attempt: int, retry_after: float | None, backoff_seconds: float, random: float) -> float:
    """Seconds to wait after the `attempt`th (from 0) failed; `random` is from 0 to 1.

    Exponential with half of it jitter. What the vendor asks for is a minimum, with jitter on top:
    everybody who was refused at once was told the same.
    """
    if retry_after is not None:
        return retry_after + backoff_seconds * random
    return backoff_seconds * 2.0**attempt * (0.5 + random / 2)


class Guarded:
    """A provider behind its breaker, tried until its first token comes."""

    def __init__(
        self, provider: Provider, breaker: Breaker, attempts: Attempts, random: Callable[[], float]
    ) -> None:
        self.provider = provider
        self._breaker = breaker
        self._attempts = attempts
        self._random = random

    async def begin(self, prompt: Prompt) -> tuple[Item, Stream]:
        """The first item of an answer and the stream of the others, which the caller closes.

        Raises the last attempt's ProviderError, or ProviderUnavailable where the breaker is open.
        """
        now = asyncio.get_running_loop().time
        due = now() + self._attempts.first_token_seconds
        failure: ProviderError | None = None
        for attempt in range(self._attempts.retries + 1):
            ticket = self._breaker.admit()
            if ticket is None:
                break
            try:
                return await self._attempt(prompt, due, ticket)
            except PASSING as error:
                failure = error
            wait = pause(
                attempt, failure.retry_after, self._attempts.backoff_seconds, self._random()
            )
            last = attempt == self._attempts.retries or self._breaker.remaining() > 0
            if last or now() + wait >= due:
                break
            await asyncio.sleep(wait)
        raise failure or self._left_alone()

    async def _attempt(self, prompt: Prompt, due: float, ticket: int) -> tuple[Item, Stream]:
        """One call up to its first item; the breaker learns how it went."""
        worked: bool | None = None
        stream = self.provider.stream(prompt)
        try:
            async with asyncio.timeout_at(due):
                first = await anext(stream)
            worked = True
        except ProviderRejected:
            worked = True  # it is there, and says no to this request
            raise
        except ProviderError:
            worked = False
            raise
        except TimeoutError as error:
            worked = False
            raise too_late(begun=False, final=False) from error
        finally:
            self._breaker.settle(ticket, worked)
        return first, stream

    def _left_alone(self) -> ProviderUnavailable:
        return ProviderUnavailable(
            "The language model's provider has failed several times in a row and is left alone "
            "for some seconds; try again shortly.",
            retry_after=self._breaker.remaining(),
        )


class ResilientProvider:
    """The port `Provider` over one or two: the fallback answers where the main one does not begin.

    It goes by the main one's name and model, under which nothing of the fallback's is cached: its
    Finish says that the answer is degraded. Where both fail, the main one's error is raised.
    """

    def __init__(self, main: Guarded, fallback: Guarded | None = None) -> None:
        self._main = main
        self._fallback = fallback
        self.name = main.provider.name
        self.model = main.provider.model
        self.uses_history = main.provider.uses_history

    async def stream(self, prompt: Prompt) -> Stream:
        first, stream, degraded = await self._begin(prompt)
        del prompt  # a stream may be open for minutes, and its prompt is most of what it would keep
        async with aclosing(stream) as rest:
            yield marked(first, degraded)
            async for item in rest:
                yield marked(item, degraded)

    async def _begin(self, prompt: Prompt) -> tuple[Item, Stream, tuple[str, ...]]:
        try:
            return *await self._main.begin(prompt), ()
        except ProviderError as error:
            if self._fallback is None:
                raise
            failure = error
        other = self._fallback.provider
        try:
            begun = await self._fallback.begin(prompt)
        except ProviderError as error:
            log.warning(
                "provider and fallback failed",
                provider=self.name,
                code=failure.code,
                fallback=other.name,
                fallback_code=error.code,
            )
            raise failure from failure.__cause__
        log.info("fallback answers", provider=self.name, code=failure.code, fallback=other.name)
        return *begun, (DEGRADED,)


def marked(item: Item, degraded: tuple[str, ...]) -> Item:
    """The item; a Finish with what failed before its provider was asked."""
    if degraded and isinstance(item, Finish):
        return replace(item, degraded=(*degraded, *item.degraded))
    return item
