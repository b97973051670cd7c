"""The processes that `citestream bench encoder` consists of, against the real service."""

from pathlib import Path

import pytest

from app.bench import cached_vectors
from app.bench.encoder import WORKER_LIMIT_MB, asking, questions
from app.bench.workers import WorkerFailed, worker
from app.encoder.backend import DEFAULT_MODEL
from app.encoder.folder import find_model


@pytest.fixture
def unix_url(encoder_url: str) -> str:
    return encoder_url.replace("http+unix://", "unix://")


async def test_clients_in_a_process_of_their_own(unix_url: str) -> None:
    async with worker("app.bench.clients") as clients:
        answer = await clients.ask(asking(unix_url, questions(10), 4))
        assert len(answer["whole"]) == answer["marked"] == 10
        assert 0 < max(answer["whole"]) <= answer["seconds"]


async def test_a_refusal_ends_the_measurement(unix_url: str) -> None:
    async with worker("app.bench.clients") as clients:
        with pytest.raises(WorkerFailed, match="empty string"):
            await clients.ask(asking(unix_url, [""], 1))


async def test_the_model_alone() -> None:
    async with worker("app.bench.bare", DEFAULT_MODEL, "torch", "") as bare:
        assert await bare.read() == {"ready": True}
        assert len((await bare.ask({"texts": questions(4)}))["times"]) == 4


async def test_the_model_as_others_use_it() -> None:
    async with worker("app.bench.plain", str(find_model(DEFAULT_MODEL))) as plain:
        assert await plain.read() == {"ready": True}
        for what in ("list", "locked"):
            assert (await plain.ask({"do": what, "texts": questions(4)}))["seconds"] > 0


async def test_a_model_that_cannot_be_loaded_is_told() -> None:
    async with worker("app.bench.bare", "/nowhere", "torch", "") as bare:
        with pytest.raises(WorkerFailed, match="is not a model"):
            await bare.read()


async def test_a_process_finds_what_another_has_left_in_redis(tmp_path: Path) -> None:
    shared, local = await cached_vectors.measure(1, tmp_path)
    assert 0 < local.median < shared.median
    assert (shared.unit, shared.limit) == ("ms", cached_vectors.LIMIT_MS)


async def test_an_api_process_is_light_and_holds_no_model(encoder_url: str) -> None:
    async with worker("app.bench.api_worker", encoder_url) as process:
        answer = await process.read()
    assert answer["holds"] == []
    assert answer["after"] < WORKER_LIMIT_MB * 1e6


def test_questions_are_as_people_ask_them() -> None:
    texts = questions(100)
    assert len(texts) == 100
    assert all(3 <= len(text.split()) <= 12 for text in texts)
