"""While the encoder service is away: fail at once or stand in, and come back by itself."""

import asyncio

import pytest

from app.encoder import standby
from app.encoder.standby import StandbyEncoder
from app.errors import EncoderUnavailable
from tests.support.switchable import Local, Switchable


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "ASK_SECONDS", 0.001)
    monkeypatch.setattr(standby, "AGAIN_SECONDS", 0.001)


async def test_while_away_without_a_local_one_every_request_fails_at_once() -> None:
    service = Switchable()
    service.up = False
    encoder = StandbyEncoder(service, None)
    for _ in range(3):
        with pytest.raises(EncoderUnavailable):
            await encoder.embed_query("a")
    assert service.asked == 1
    assert not encoder.is_available
    await encoder.aclose()


async def test_it_comes_back_by_itself() -> None:
    service = Switchable()
    service.up = False
    encoder = StandbyEncoder(service, None)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    service.up = True
    async with asyncio.timeout(5):
        while not encoder.is_available:
            service.pinged.clear()
            await service.pinged.wait()
            await asyncio.sleep(0)
    assert len(await encoder.embed_query("a")) == 384
    await encoder.aclose()


async def test_a_local_one_stands_in_until_then_and_is_stopped() -> None:
    service, local = Switchable(), Local()
    service.up = False
    encoder = StandbyEncoder(service, local)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    local.may_start.set()
    await local.started.wait()
    await asyncio.sleep(0)
    assert len(await encoder.embed_query("a")) == 384
    assert (service.asked, local.encoder.asked) == (1, 1)
    service.up = True
    async with asyncio.timeout(5):
        await local.stopped.wait()
    await encoder.embed_query("b")
    assert service.asked == 2
    await encoder.aclose()


async def test_a_local_one_that_could_not_start_is_started_again() -> None:
    service, local = Switchable(), Local(failures=3)
    service.up = False
    local.may_start.set()
    encoder = StandbyEncoder(service, local)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    async with asyncio.timeout(5):
        await local.started.wait()
    assert len(await encoder.embed_query("a")) == 384
    await encoder.aclose()


async def test_a_local_encoder_of_another_model_is_never_used() -> None:
    service, local = Switchable(), Local("other-model")
    service.up = False
    local.may_start.set()
    encoder = StandbyEncoder(service, local)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    await local.stopped.wait()
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    assert local.encoder.asked == 0
    await encoder.aclose()


async def test_a_hung_service_costs_one_question_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standby, "QUERY_SECONDS", 0.01)
    service = Switchable()
    service.hangs = True
    encoder = StandbyEncoder(service, None)
    for _ in range(3):
        with pytest.raises(EncoderUnavailable):
            await encoder.embed_query("a")
    assert service.asked == 1
    await encoder.aclose()


async def test_a_busy_service_is_not_away() -> None:
    service = Switchable()
    service.up, service.retry_after = False, 1.0
    encoder = StandbyEncoder(service, None)
    for _ in range(2):
        with pytest.raises(EncoderUnavailable):
            await encoder.embed_query("a")
    assert service.asked == 2
    assert encoder.is_available
    await encoder.aclose()


async def test_closing_stops_the_local_one() -> None:
    service, local = Switchable(), Local()
    service.up = False
    local.may_start.set()
    encoder = StandbyEncoder(service, local)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    await local.started.wait()
    await encoder.aclose()
    assert local.stopped.is_set()


async def test_why_it_is_not_back_is_told() -> None:
    service = Switchable()
    service.up, service.reason = False, "The encoder hosts another model now."
    encoder = StandbyEncoder(service, None)
    with pytest.raises(EncoderUnavailable):
        await encoder.embed_query("a")
    for _ in range(2):
        service.pinged.clear()
        await service.pinged.wait()
    with pytest.raises(EncoderUnavailable, match="another model"):
        await encoder.ping()
    assert service.asked == 1
    await encoder.aclose()
