"""Runs one call to a vendor: its deadlines, and an honest end. `policy` decides about another."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias

import httpx2

from app.chat.ports import Finish
from app.errors import ProviderTimeout, ProviderTruncated, ProviderUnavailable
from app.providers.lines import Decoder

# Opens the call and gives its response, still streaming; leaving it closes the call.
Call: TypeAlias = Callable[[], AbstractAsyncContextManager[httpx2.Response]]

SETTLE_SECONDS = 1.0  # after a finish_reason: how long its usage may still take
DRAIN_SECONDS = 0.05  # after the end: for the bytes that let the connection be used again


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each part of a call may take, in seconds."""

    connect_seconds: float = 2.0
    first_token_seconds: float = 20.0
    between_tokens_seconds: float = 20.0
    total_seconds: float = 120.0


async def relay(call: Call, deadlines: Deadlines) -> AsyncGenerator[str | Finish, None]:
    """Yield the deltas of one answer and its Finish.

    Raises ProviderTimeout, ProviderTruncated, or what `call` and the decoder raise.
    """
    now = asyncio.get_running_loop().time
    end = now() + deadlines.total_seconds
    decoder = Decoder()
    begun = False
    due = min(end, now() + deadlines.first_token_seconds)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout_at(due):
                response = await stack.enter_async_context(call())
        except TimeoutError as error:
            raise too_late(begun, due >= end) from error
        chunks = response.aiter_bytes()
        while not decoder.complete:
            data = await receive(chunks, decoder, due, begun, due >= end)
            for delta in decoder.feed(data) if data else decoder.close():
                begun = True
                yield delta
                due = min(end, now() + deadlines.between_tokens_seconds)
            if not data:
                break
            if decoder.finish_reason:
                due = min(due, now() + SETTLE_SECONDS)
        if decoder.finish_reason is None:
            raise ProviderTruncated
        try:
            yield Finish(decoder.finish_reason, decoder.usage)
        finally:
            await drain(chunks)


async def receive(
    chunks: AsyncIterator[bytes], decoder: Decoder, due: float, begun: bool, final: bool
) -> bytes:
    """The next bytes; empty at the end, or where a complete answer's connection fails."""
    try:
        async with asyncio.timeout_at(due):
            return await anext(chunks, b"")
    except TimeoutError as error:
        if decoder.finish_reason:
            return b""
        raise too_late(begun, final) from error
    except httpx2.HTTPError as error:
        if decoder.finish_reason:
            return b""
        raise (ProviderTruncated if begun else ProviderUnavailable)() from error


def too_late(begun: bool, final: bool) -> ProviderTimeout:
    if final:
        return ProviderTimeout("The language model's answer took longer than the time allowed.")
    if begun:
        return ProviderTimeout("The language model paused for too long in its answer.")
    return ProviderTimeout("The language model's first word did not come in time.")


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of the response, so that its connection stays warm for the next one."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, httpx2.HTTPError):
        return
