"""The encoder service and its clients when something goes wrong: real processes, real sockets."""

import asyncio
import re
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from app.embedded import Servers
from app.encoder import standby
from app.encoder.caching import CachingEncoder
from app.encoder.client import EncoderClient
from app.encoder.standby import StandbyEncoder
from app.errors import EncoderUnavailable
from app.stores.redis_cache import RedisCache
from app.stores.redis_servers import SOMEWHERE
from tests.support.encoder import HashEncoder, cosine, encoder_process
from tests.support.waiting import until

CLIENTS = 64
# No client may wait for longer than its deadline and one retry; generous on a busy machine.
PATIENCE = 30


@pytest.fixture
def options(tmp_path: Path, onnx: tuple[str, ...]) -> tuple[str, ...]:
    """Of a service that starts in half a second, on a socket where it can be started again."""
    uds = str(tmp_path / "encoder.sock")
    return ("--uds", uds, *onnx, "--threads", "1")


@asynccontextmanager
async def connected(url: str, timeout_seconds: float = 10) -> AsyncIterator[EncoderClient]:
    async with await EncoderClient.connect(url, timeout_seconds=timeout_seconds) as client:
        yield client


async def until_waiting(url: str, texts: int) -> None:
    """Return when a batch runs and that many documents wait behind it."""
    transport = httpx2.AsyncHTTPTransport(uds=url.removeprefix("unix://"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://encoder") as http:

        async def enough() -> bool:
            metrics = (await http.get("/metrics")).text
            found = re.search(r'encoder_waiting_texts\{kind="document"\} (\d+)', metrics)
            return found is not None and int(found[1]) >= texts

        await until(enough)


async def test_killed_in_mid_batch_every_client_gets_an_answer_or_an_error(
    options: tuple[str, ...],
) -> None:
    long = "word " * 250
    async with encoder_process(*options) as (process, url), connected(url, PATIENCE) as client:
        asked = [
            asyncio.create_task(client.embed_documents([f"{number} {long}"] * 8))
            for number in range(CLIENTS)
        ]
        await until_waiting(url, 4 * CLIENTS)
        process.kill()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*asked, return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(failed) >= CLIENTS / 2
    assert all(isinstance(error, EncoderUnavailable) for error in failed)
    assert all(len(answer) == 8 for answer in answers if not isinstance(answer, BaseException))


async def test_a_second_service_stands_in_for_a_killed_one_until_it_is_back(
    options: tuple[str, ...], onnx: tuple[str, ...]
) -> None:
    others = ("--port", "0", *onnx, "--threads", "1")

    stopped = asyncio.Event()

    @asynccontextmanager
    async def second() -> AsyncIterator[EncoderClient]:
        try:
            async with encoder_process(*others) as (_, url), connected(url) as client:
                yield client
        finally:
            stopped.set()

    async with encoder_process(*options) as (process, url), connected(url) as client:
        encoder = StandbyEncoder(client, second)
        before = await encoder.embed_query("text")
        process.kill()
        failed = await asyncio.gather(
            *(encoder.embed_query("text") for _ in range(CLIENTS)), return_exceptions=True
        )
        assert all(isinstance(error, EncoderUnavailable) for error in failed)
        await until(lambda: encoder.is_available)
        assert cosine(await encoder.embed_query("text"), before) == pytest.approx(1, abs=1e-4)
        async with encoder_process(*options):
            await asyncio.wait_for(stopped.wait(), PATIENCE)
            assert cosine(await encoder.embed_query("text"), before) == pytest.approx(1, abs=1e-4)
            await encoder.aclose()


async def test_a_hung_service_costs_the_deadline_and_is_used_again_when_it_goes_on(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "QUERY_SECONDS", 0.3)
    async with encoder_process(*options) as (process, url), connected(url) as client:
        encoder = StandbyEncoder(client, None)
        before = await encoder.embed_query("text")
        process.send_signal(signal.SIGSTOP)
        answers = await asyncio.gather(
            *(encoder.embed_query("text") for _ in range(CLIENTS)), return_exceptions=True
        )
        assert all(isinstance(answer, EncoderUnavailable) for answer in answers)
        assert not encoder.is_available
        with pytest.raises(EncoderUnavailable, match="not available just now"):  # it is not asked
            await encoder.embed_query("text")
        process.send_signal(signal.SIGCONT)
        await until(lambda: encoder.is_available)
        assert cosine(await encoder.embed_query("text"), before) == pytest.approx(1, abs=1e-4)
        await encoder.aclose()


async def test_of_two_on_one_socket_the_second_ends_and_the_first_goes_on(
    options: tuple[str, ...],
) -> None:
    async with (
        encoder_process(*options) as (_, url),
        encoder_process(*options, wait=False) as (second, _),
        connected(url) as client,
    ):
        _, errors = await asyncio.wait_for(second.communicate(), PATIENCE)
        assert (second.returncode, errors.count(b"\n")) == (1, 1)
        assert b"is in use by another encoder" in errors
        assert len(await client.embed_query("text")) == client.dimension


async def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: writing the model fails after 16 KiB."""
    cache = tmp_path / "cache"

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))

    options = ("--port", "0", "--backend", "onnx", "--cache", str(cache))
    async with encoder_process(*options, wait=False, preexec_fn=no_room) as (process, _):
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"Traceback" not in errors
    sentence = f"Exported models cannot be kept in {cache} (File too large); name another folder"
    assert sentence in errors.decode().splitlines()[-1]
    assert [path for path in cache.iterdir() if path.is_dir()] == []


async def test_a_full_redis_costs_only_the_sharing_of_query_vectors(servers: Servers) -> None:
    cache = RedisCache(servers.redis_url, timeout_seconds=5, retry_after_seconds=60)
    try:
        encoder = CachingEncoder(HashEncoder(), cache)
        redis = cache.servers.places()[SOMEWHERE]
        [before] = (await redis.config_get("maxmemory")).values()
        await redis.config_set("maxmemory", 1)
        try:
            vector = await encoder.embed_query("a question that Redis has no room for")
            await until(lambda: cache.counts.refused == 1)
        finally:
            await redis.config_set("maxmemory", before)
        assert vector == await encoder.embed_query("a question that Redis has no room for")
        assert encoder.statistics() == {
            "local_hits": 1, "shared_hits": 0, "joined": 0, "encoded": 1,
        }  # fmt: skip
        assert await cache.ping()
    finally:
        await cache.aclose()
