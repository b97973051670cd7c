"""An encoder that comes after the service: waited for, stood in for, and known by its own name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.chat.encoders import EncoderNotConfigured, encoder_named
from app.encoder import awaited, standby
from app.encoder.awaited import AwaitedEncoder
from app.encoder.configured import ConfiguredEncoders
from app.encoder.standby import StartLocal
from app.errors import EncoderUnavailable
from tests.support.core import MemoryCache
from tests.support.switchable import Local, Switchable
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "ASK_SECONDS", 0.001)
    monkeypatch.setattr(standby, "AGAIN_SECONDS", 0.001)


@asynccontextmanager
async def started(
    service: Switchable, local: StartLocal | None = None
) -> AsyncIterator[tuple[AwaitedEncoder, ConfiguredEncoders]]:
    encoder = AwaitedEncoder(service, local)
    await encoder.start()
    try:
        yield encoder, ConfiguredEncoders({"main": encoder}, MemoryCache())
    finally:
        await encoder.aclose()


def absent(name: str = "hash-384") -> Switchable:
    service = Switchable(name)
    service.up = False
    return service


async def test_one_that_is_there_is_known_at_once() -> None:
    async with started(Switchable()) as (encoder, encoders):
        assert encoder.is_known
        assert list(encoders) == ["hash-384"]
        assert len(await encoders["hash-384"].embed_query("a")) == 384
        with pytest.raises(EncoderNotConfigured):
            encoder_named(encoders, "another")


async def test_a_vector_is_expected_of_the_one_that_is_asked_for_it() -> None:
    service = Switchable()
    async with started(service) as (_, encoders):
        expected = encoders.expect("hash-384", "a")
        assert expected is not None
        expected.encode()
        await until(lambda: service.asked == 1)
        assert len(await encoders["hash-384"].embed_query("a")) == 384
        expected.leave()
        assert service.asked == 1
        assert encoders.expect("hash-384", "a") is None  # it is at hand
        assert encoders.expect("another", "a") is None
    async with started(absent()) as (_, encoders):
        assert encoders.expect("hash-384", "a") is None


async def test_until_it_comes_nobody_knows_which_portfolios_it_is_for() -> None:
    service = absent()
    async with started(service) as (encoder, encoders):
        assert not encoder.is_available
        assert (list(encoders), len(encoders)) == ([], 0)
        with pytest.raises(EncoderUnavailable) as raised:
            encoder_named(encoders, "hash-384")
        assert not isinstance(raised.value, EncoderNotConfigured)
        with pytest.raises(EncoderUnavailable):
            await encoder.ping()
        service.up = True
        await until(lambda: encoder.is_known)
        await encoder.ping()
        assert len(await encoder_named(encoders, "hash-384").embed_query("a")) == 384


async def test_a_hung_one_holds_the_start_up_only_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "FIRST_SECONDS", 0.01)
    service = Switchable()
    service.hangs = True
    async with started(service) as (encoder, _):
        assert not encoder.is_known


async def test_a_local_one_stands_in_and_leaves_when_it_comes() -> None:
    service, local = absent(), Local(failures=2)
    local.may_start.set()
    async with started(service, local) as (encoder, encoders):
        await until(lambda: encoder.is_available)
        await encoders["hash-384"].embed_query("a")
        assert (service.asked, local.encoder.asked) == (0, 1)
        assert not encoder.is_known
        service.up = True
        async with asyncio.timeout(5):
            await local.stopped.wait()
        await encoders["hash-384"].embed_query("b")
        assert (service.asked, local.encoder.asked) == (1, 1)
        assert encoders.statistics()["encoded"] == 2


async def test_what_comes_as_another_model_is_refused_for_the_formers_portfolios() -> None:
    service, local = absent("of-the-service"), Local("of-the-local-one")
    local.may_start.set()
    async with started(service, local) as (encoder, encoders):
        await until(lambda: encoder.is_available)
        former = encoders["of-the-local-one"]
        with pytest.raises(EncoderUnavailable):
            encoder_named(encoders, "of-the-service")
        service.up = True
        await until(lambda: encoder.is_known)
        assert list(encoders) == ["of-the-service"]
        with pytest.raises(EncoderNotConfigured):
            encoder_named(encoders, "of-the-local-one")
        local.encoder.up = False
        with pytest.raises(EncoderUnavailable):
            await former.embed_query("not the service's to answer")
        assert service.asked == 0


async def test_one_that_still_loads_needs_nobody_to_stand_in() -> None:
    service, local = absent(), Local()
    service.retry_after = 1.0
    local.may_start.set()
    async with started(service, local) as (encoder, _):
        for _ in range(3):
            service.pinged.clear()
            await service.pinged.wait()
        service.up = True
        await until(lambda: encoder.is_known)
    assert not local.started.is_set()


async def test_the_next_one_is_preferred_from_when_it_is_known() -> None:
    upcoming, main = absent("upcoming"), Switchable("main")
    first, second = AwaitedEncoder(upcoming, None), AwaitedEncoder(main, None)
    encoders = ConfiguredEncoders({"next": first, "main": second}, MemoryCache())
    await asyncio.gather(first.start(), second.start())
    assert list(encoders) == ["main"]
    assert encoders.availability() == {"next": False, "main": True}
    upcoming.up = True
    await until(lambda: first.is_known)
    assert list(encoders) == ["upcoming", "main"]
    await asyncio.gather(first.aclose(), second.aclose())
