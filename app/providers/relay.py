"""Runs one call to a vendor: its deadlines, and an honest end. `policy` decides about another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from app.chat.ports import Finish
from app.errors import ProviderTimeout, ProviderTruncated, ProviderUnavailable
from app.outgoing.exchange import Broken, Exchange
from app.providers.lines import Decoder

# Makes the call and gives its answer, of which the head has come; closing that ends the call.
Call: TypeAlias = Callable[[], Awaitable[Exchange]]

SETTLE_SECONDS = 1.0  # after a finish_reason: how long its usage may still take
DRAIN_SECONDS = 0.05  # after the end: for the bytes that let the connection be used again
DRAIN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each part of a call may take, in seconds."""

    connect_seconds: float = 2.0
    first_token_seconds: float = 20.0
    between_tokens_seconds: float = 20.0
    total_seconds: float = 120.0


async def relay(call: Call, deadlines: Deadlines) -> AsyncGenerator[list[str] | Finish, None]:
    """Yield the deltas of one answer, those together that were read together, and its Finish.

    Raises ProviderTimeout, ProviderTruncated, or what `call` and the decoder raise.
    """
    now = asyncio.get_running_loop().time
    end = now() + deadlines.total_seconds
    due = min(end, now() + deadlines.first_token_seconds)
    try:
        async with asyncio.timeout_at(due):
            exchange = await call()
    except TimeoutError as error:
        raise too_late(begun=False, final=due >= end) from error
    del call  # and with it the prompt, which is longer than all that is kept of a call
    decoder = Decoder()
    begun = False
    try:
        while not decoder.complete:
            exchange.until(due)
            try:
                data = await exchange.read()
            except (Broken, TimeoutError) as error:
                if not decoder.finish_reason:
                    raise failure(error, begun, due >= end) from error
                data = b""
            if deltas := decoder.feed(data) if data else decoder.close():
                begun = True
                yield deltas
                due = min(end, now() + deadlines.between_tokens_seconds)
            if decoder.fault is not None:
                raise decoder.fault
            if not data:
                break
            if decoder.finish_reason:
                due = min(due, now() + SETTLE_SECONDS)
        if decoder.finish_reason is None:
            raise ProviderTruncated
        try:
            yield Finish(decoder.finish_reason, decoder.usage)
        finally:
            exchange.until(now() + DRAIN_SECONDS)
            await exchange.finish(DRAIN_BYTES)
    finally:
        exchange.close()


def failure(error: Exception, begun: bool, final: bool) -> Exception:
    """What a connection that failed or was late means for the answer."""
    if isinstance(error, TimeoutError):
        return too_late(begun, final)
    return ProviderTruncated() if begun else ProviderUnavailable()


def too_late(begun: bool, final: bool) -> ProviderTimeout:
    if final:
        return ProviderTimeout("The language model's answer took longer than the time allowed.")
    if begun:
        return ProviderTimeout("The language model paused for too long in its answer.")
    return ProviderTimeout("The language model's first word did not come in time.")
