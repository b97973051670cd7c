"""Exported models: the same vectors as torch's, made once, and never half-read."""

import asyncio
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from app.encoder import loading as loading_module
from app.encoder import onnx_backend as onnx_module
from app.encoder.backend import (
    DEFAULT_BACKEND,
    DEFAULT_MODEL,
    LONG_CHARS,
    PREPARING,
    EncodingFailed,
    ModelUnusable,
)
from app.encoder.client import EncoderClient
from app.encoder.export import GRAPH, MANIFEST, MANIFEST_DIGEST, REFERENCES, TOKENIZER, digest
from app.encoder.exported import UNFINISHED, read_exported
from app.encoder.loading import load_backend
from app.encoder.runtimes import OnnxRuntime
from app.encoder.standby import StandbyEncoder
from app.errors import TextNotEncodable
from tests.support import tiny_model
from tests.support.encoder import cosine, encoder_process
from tests.support.people import until
from tests.support.torch_vectors import torch_vectors


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / tiny_model.FOLDER
    tiny_model.make(folder)
    return folder


@pytest.fixture(scope="module")
async def tiny_url(tiny: Path, onnx: tuple[str, ...]) -> AsyncIterator[str]:
    async with encoder_process("--port", "0", "--model", str(tiny), *onnx) as (_, url):
        yield url


def test_the_default_model_has_torchs_vectors(exports: Path) -> None:
    backend = load_backend(backend="onnx", cache=exports)
    torch = torch_vectors(DEFAULT_MODEL, REFERENCES)
    assert backend.info.id == torch.id
    encoded = backend.encode(REFERENCES, "document")
    for vector, other in zip(encoded.vectors, torch.vectors, strict=True):
        assert cosine(memoryview(vector).cast("f").tolist(), other) > 0.9999
    assert encoded.truncated[-2:] == [True, True]
    assert not any(encoded.truncated[:-2])


async def test_so_has_a_model_of_quite_another_kind(
    tiny: Path, tiny_url: str, exports: Path
) -> None:
    backend = load_backend(str(tiny), backend="onnx", cache=exports)
    texts = ["a", "a longer text of some words", "日本語", "word " * 100]
    torch, asked = torch_vectors(tiny, texts), torch_vectors(tiny, ["a"], "query")
    async with await EncoderClient.connect(tiny_url, timeout_seconds=60) as service:
        assert backend.info.id == torch.id == service.name
        assert backend.info.dimension == service.dimension == tiny_model.DIMENSION
        documents = await service.embed_documents(texts)
        query = await service.embed_query("a")
    encoded = backend.encode(texts, "document")
    assert encoded.truncated == torch.truncated == [False, False, False, True]
    for vector, served, other in zip(encoded.vectors, documents, torch.vectors, strict=True):
        assert cosine(memoryview(vector).cast("f").tolist(), other) > 0.9999
        assert cosine(served, other) > 0.9999
    [vector] = backend.encode(["a"], "query").vectors
    assert cosine(memoryview(vector).cast("f").tolist(), asked.vectors[0]) > 0.9999
    assert cosine(query, asked.vectors[0]) > 0.9999
    assert cosine(query, documents[0]) < 0.999  # another prompt


async def test_a_text_that_the_model_cannot_bear_fails_alone(
    tiny: Path, tiny_url: str, exports: Path
) -> None:
    with pytest.raises(EncodingFailed, match="not a number"):
        load_backend(str(tiny), backend="onnx", cache=exports).encode([tiny_model.POISON], "query")
    with pytest.raises(RuntimeError, match=r"EncodingFailed: .* not a number"):
        torch_vectors(tiny, [tiny_model.POISON], "query")
    bodies = [{"input": ["fine", tiny_model.POISON, "x"]}, *({"input": f"n {n}"} for n in range(9))]
    async with httpx2.AsyncClient(base_url=tiny_url, timeout=60, trust_env=False) as http:
        # The first fills the model, so that the others share a batch.
        long = http.post("/v1/embeddings", json={"input": ["word " * 40] * 256})
        answers = await asyncio.gather(
            long, *(http.post("/v1/embeddings", json=body) for body in bodies)
        )
        metrics = (await http.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200, 500] + [200] * 9
    error = answers[1].json()["error"]
    assert (error["param"], error["code"]) == ("input[1]", "encoding_failed")
    assert 'encoder_failed_total{kind="document"} 1.0' in metrics


async def test_such_a_text_is_no_outage(tiny_url: str) -> None:
    async with await EncoderClient.connect(tiny_url, timeout_seconds=60) as client:
        encoder = StandbyEncoder(client, None)
        texts = [str(number) for number in range(100)]
        for _ in range(2):
            with pytest.raises(TextNotEncodable):
                await encoder.embed_query(tiny_model.POISON)
            with pytest.raises(TextNotEncodable) as raised:
                await encoder.embed_documents([*texts, tiny_model.POISON, "x"])
            assert raised.value.index == 100
            assert encoder.is_available
            assert len(await encoder.embed_query("fine")) == tiny_model.DIMENSION


@pytest.mark.parametrize(("blanks", "is_cut"), [(LONG_CHARS - 100, False), (LONG_CHARS, True)])
async def test_what_follows_very_many_characters_is_not_read(
    blanks: int, is_cut: bool, tiny: Path, tiny_url: str, exports: Path
) -> None:
    texts = [" " * blanks + "word", "word", "fine"]
    backend = load_backend(str(tiny), backend="onnx", cache=exports)
    [onnx, word, _] = (encoded := backend.encode(texts, "document")).vectors
    async with httpx2.AsyncClient(base_url=tiny_url, timeout=60, trust_env=False) as http:
        answer = (await http.post("/v1/embeddings", json={"input": texts})).json()
    served, torch = answer["data"][0]["embedding"], torch_vectors(tiny, texts)
    assert encoded.truncated == torch.truncated == [is_cut, False, False]
    assert answer["usage"]["truncated"] == int(is_cut)
    for vector in (served, torch.vectors[0]):
        assert cosine(memoryview(onnx).cast("f").tolist(), vector) > 0.9999
    assert (onnx == word) is not is_cut


class Watched(OnnxRuntime):
    """Notes the threads of a run, takes at least so long for each, and lets those of long texts go
    on together only."""

    loaded: list[int]
    seconds = 0.0
    together = threading.Barrier(1)

    def load(self, graph: Path, threads: int) -> None:
        super().load(graph, threads)
        self.loaded.append(threads)

    def run(self, inputs: Mapping[str, Any]) -> Any:
        if inputs["input_ids"].shape[1] > 40:
            self.together.wait(timeout=30)
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            pass
        return super().run(inputs)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """What `onnx` runs on, with two cores."""

    class Own(Watched):
        loaded: list[int] = []  # noqa: RUF012 — of the one that is made

    monkeypatch.setattr(loading_module, "OnnxRuntime", Own)
    monkeypatch.setattr(onnx_module, "arithmetic_cores", lambda: 2)
    return Own


def test_a_batch_has_every_core_and_a_question_one(watched: type[Watched], exports: Path) -> None:
    """Each run waits for the other one: a batch of which they came in turns would not end."""
    backend = load_backend(backend="onnx", cache=exports)
    assert watched.loaded == [1]
    watched.together = threading.Barrier(2)
    texts = [f"Project {number} is about {'shops and ' * 20} more." for number in range(8)]
    vectors = backend.encode(texts, "document").vectors
    watched.together = threading.Barrier(1)
    for text, vector in zip(texts, vectors, strict=True):
        [alone] = backend.encode([text], "document").vectors
        left, right = (memoryview(each).cast("f").tolist() for each in (vector, alone))
        assert cosine(left, right) > 0.9999


def test_what_takes_long_has_every_core_for_itself(watched: type[Watched], exports: Path) -> None:
    watched.seconds = 2 * onnx_module.LONG_SECONDS
    backend = load_backend(backend="onnx", cache=exports)
    assert watched.loaded == [1, 2]
    watched.seconds = 0.0
    assert len(backend.encode(["word " * 60] * 8, "document").vectors) == 8


@pytest.mark.parametrize(("cores", "loaded"), [(1, 1), (3, 2), (8, 4)])
def test_a_run_has_half_of_the_cores(
    watched: type[Watched],
    exports: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    loaded: int,
) -> None:
    monkeypatch.setattr(onnx_module, "arithmetic_cores", lambda: cores)
    backend = load_backend(backend="onnx", cache=exports)
    assert watched.loaded == [loaded]
    assert len(backend.encode(["word " * 60] * 8, "document").vectors) == 8


def test_a_single_thread_is_all_there_is(watched: type[Watched], exports: Path) -> None:
    backend = load_backend(backend="onnx", cache=exports, threads=1)
    assert watched.loaded == [1]
    assert len(backend.encode(["word " * 60] * 8, "document").vectors) == 8


def test_what_is_found_is_not_made_again(exports: Path) -> None:
    load_backend(backend="onnx", cache=exports)
    [graph] = _graphs(exports)
    [mark] = graph.parent.glob("verified-*")
    before = graph.stat(), mark.stat()
    load_backend(backend="onnx", cache=exports)
    assert (graph.stat(), mark.stat()) == before


def test_a_damaged_file_is_made_again_and_leftovers_are_removed(
    tiny: Path, exports: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_backend(str(tiny), backend="onnx", cache=exports).encode(["text"], "query")
    graph = _copied(exports, tmp_path, tiny) / GRAPH
    with graph.open("r+b") as file:
        file.truncate(graph.stat().st_size // 2)
    leftover = tmp_path / f"{UNFINISHED}{graph.parent.name}-x"
    leftover.mkdir()
    again = load_backend(str(tiny), backend="onnx", cache=tmp_path).encode(["text"], "query")
    assert again == expected
    assert "damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [graph.parent.name]


def test_no_bit_of_the_manifest_may_differ(tiny: Path, exports: Path, tmp_path: Path) -> None:
    load_backend(str(tiny), backend="onnx", cache=exports)
    place = _copied(exports, tmp_path, tiny)
    sound = read_exported(place)
    for name in (MANIFEST, MANIFEST_DIGEST):
        whole = (place / name).read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 100)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << position % 8
            (place / name).write_bytes(damaged)
            assert read_exported(place) is None, position
        (place / name).write_bytes(whole)
    assert sound is not None
    assert read_exported(place) == sound


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
def test_the_manifest_names_every_file(
    name: str, tiny: Path, exports: Path, tmp_path: Path
) -> None:
    load_backend(str(tiny), backend="onnx", cache=exports)
    place = _copied(exports, tmp_path, tiny)
    fields = json.loads((place / MANIFEST).read_bytes())
    del fields["files"][name]
    _write_manifest(place, fields)
    assert read_exported(place) is None


LOAD = """
import sys
from app.encoder.loading import load_backend
load_backend(sys.argv[1], backend="onnx", cache=sys.argv[2])
assert "torch" not in sys.modules
"""


@asynccontextmanager
async def loading(tiny: Path, place: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that loads the model with a cache in this folder. Each process that exports adds
    a line to the file `exporting` there."""
    (place / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'app.encoder.export' in sys.orig_argv:\n"
        f"    open({str(place / 'exporting')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    )
    command = [sys.executable, "-c", LOAD, str(tiny), str(place / "cache")]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *sys.path])},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says_that_it_prepares(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    assert PREPARING in (await process.stderr.readline()).decode()


def exporters(place: Path) -> list[int]:
    file = place / "exporting"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def test_of_several_that_start_at_once_one_exports_and_the_next_when_it_is_killed(
    tiny: Path, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(loading(tiny, tmp_path)) for _ in range(3)]
        for process in started:
            await says_that_it_prepares(process)
        until(lambda: exporters(tmp_path))
        [first] = exporters(tmp_path)
        exporter = psutil.Process(first)
        [killed] = [process for process in started if process.pid == exporter.ppid()]
        killed.kill()
        assert [await process.wait() for process in started if process is not killed] == [0, 0]
        psutil.wait_procs([exporter], timeout=30)
        assert not exporter.is_running()
    assert len(exporters(tmp_path)) == 2
    assert len(list((tmp_path / "cache").iterdir())) == 1


async def info(*options: str, **popen: Any) -> tuple[dict[str, Any], str]:
    """What an encoder of these options has loaded, and its standard error to its end."""
    async with encoder_process("--port", "0", *options, **popen) as (process, url):
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            loaded: dict[str, Any] = (await http.get("/info")).json()
        process.terminate()
        _, errors = await process.communicate()
        return loaded, errors.decode()


async def test_the_default_is_onnx(tiny: Path, exports: Path) -> None:
    load_backend(str(tiny), backend="onnx", cache=exports)
    options = ("--model", str(tiny), "--backend", DEFAULT_BACKEND, "--cache", str(exports))
    loaded, errors = await info(*options)
    assert (loaded["backend"], errors) == ("onnx", "")


async def test_where_onnx_is_of_no_use_the_default_is_torch_and_says_so(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('broken', name='onnxruntime')")
    python_path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": python_path}
    options = ("--model", str(tiny), "--cache", str(tmp_path / "cache"))
    loaded, errors = await info(*options, "--backend", DEFAULT_BACKEND, env=environment)
    assert loaded["backend"] == "torch"
    assert errors.count("\n") == 1
    assert "needs the package onnxruntime; install citestream[encoder]." in errors
    async with encoder_process(
        "--port", "0", *options, "--backend", "onnx", wait=False, env=environment
    ) as (process, _):
        _, output = await process.communicate()
    assert process.returncode == 1
    assert output.decode().strip() in errors


def test_a_card_that_onnx_cannot_use_is_left_to_torch(
    tiny: Path, exports: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Not torch itself: the suite does not import it.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(loading_module, "NVIDIA", exports)
    with pytest.raises(ModelUnusable, match="torch is not installed"):
        load_backend(str(tiny), cache=exports)
    assert "install onnxruntime-gpu" in caplog.text
    assert load_backend(str(tiny), device="cpu", cache=exports).info.backend == "onnx"


def test_other_vectors_than_torchs_are_refused(tiny: Path, exports: Path, tmp_path: Path) -> None:
    load_backend(str(tiny), backend="onnx", cache=exports)
    place = _copied(exports, tmp_path, tiny)
    fields = json.loads((place / MANIFEST).read_bytes())
    fields["references"][0]["vector"] = fields["references"][3]["vector"]
    _write_manifest(place, fields)
    assert list(place.glob("verified-*"))  # of what it was before, so it counts for nothing
    with pytest.raises(ModelUnusable, match=r"other vectors .* than in torch .*cosine"):
        load_backend(str(tiny), backend="onnx", cache=tmp_path)


@pytest.mark.parametrize(
    ("backend", "package", "extras"),
    [("onnx", "onnxruntime", "encoder"), ("openvino", "openvino", "encoder,openvino")],
)
def test_a_missing_package_is_one_sentence(
    backend: str, package: str, extras: str, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelUnusable) as raised:
        load_backend(backend=backend, cache=exports)
    sentence = f"needs the package {package}; install citestream[{extras}]."
    assert str(raised.value) == f"The backend {backend} {sentence}"


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_device_that_a_backend_has_not_got(backend: str, exports: Path) -> None:
    with pytest.raises(ModelUnusable, match="cuda"):
        load_backend(backend=backend, device="cuda", cache=exports)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ModelUnusable, match=r"cannot be kept in .*--cache"):
        load_backend(backend="onnx", cache=file)


def test_a_model_that_cannot_be_exported_leaves_nothing(tmp_path: Path) -> None:
    model, cache = tmp_path / "model", tmp_path / "cache"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelUnusable, match="cannot be exported to ONNX: "):
        load_backend(str(model), backend="onnx", cache=cache)
    assert list(cache.iterdir()) == []


def _graphs(exports: Path) -> list[Path]:
    """Of the default model: those of 90 MB."""
    return [path for path in exports.glob(f"*/{GRAPH}") if path.stat().st_size > 1 << 24]


def _write_manifest(place: Path, fields: dict[str, Any]) -> None:
    (place / MANIFEST).write_text(json.dumps(fields))
    (place / MANIFEST_DIGEST).write_text(digest(place / MANIFEST))


def _copied(exports: Path, target: Path, model: Path) -> Path:
    """A copy of a model's export in a cache of its own."""
    [made] = exports.glob(f"{model.name}-*")
    return Path(shutil.copytree(made, target / made.name))
