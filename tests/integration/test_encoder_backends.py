"""Exported models: the same vectors as torch's, made once, and never half-read."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from app.encoder.backend import EncodingFailed, ModelUnusable
from app.encoder.client import EncoderClient
from app.encoder.export import GRAPH, MANIFEST, REFERENCES
from app.encoder.exported import UNFINISHED
from app.encoder.loading import load_backend
from tests.support import tiny_model
from tests.support.encoder import cosine, encoder_process


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.make(folder)
    return folder


@pytest.fixture(scope="module")
async def tiny_url(tiny: Path) -> AsyncIterator[str]:
    async with encoder_process("--port", "0", "--model", str(tiny)) as (_, url):
        yield url


async def test_the_default_model_has_torchs_vectors(encoder_url: str, exports: Path) -> None:
    backend = load_backend(backend="onnx", cache=exports)
    async with await EncoderClient.connect(encoder_url, timeout_seconds=60) as torch:
        assert backend.info.id == torch.name
        expected = await torch.embed_documents(REFERENCES)
    encoded = backend.encode(REFERENCES, "document")
    for vector, other in zip(encoded.vectors, expected, strict=True):
        assert cosine(memoryview(vector).cast("f").tolist(), other) > 0.9999
    assert encoded.truncated[-2:] == [True, True]
    assert not any(encoded.truncated[:-2])


async def test_so_has_a_model_of_quite_another_kind(
    tiny: Path, tiny_url: str, exports: Path
) -> None:
    backend = load_backend(str(tiny), backend="onnx", cache=exports)
    texts = ["a", "a longer text of some words", "日本語", "word " * 100]
    async with await EncoderClient.connect(tiny_url, timeout_seconds=60) as torch:
        assert backend.info.id == torch.name
        assert backend.info.dimension == torch.dimension == tiny_model.DIMENSION
        documents = await torch.embed_documents(texts)
        query = await torch.embed_query("a")
    encoded = backend.encode(texts, "document")
    assert encoded.truncated == [False, False, False, True]
    for vector, other in zip(encoded.vectors, documents, strict=True):
        assert cosine(memoryview(vector).cast("f").tolist(), other) > 0.9999
    [vector] = backend.encode(["a"], "query").vectors
    assert cosine(memoryview(vector).cast("f").tolist(), query) > 0.9999
    assert cosine(query, documents[0]) < 0.999  # another prompt


async def test_a_text_that_the_model_cannot_bear_fails_alone(
    tiny: Path, tiny_url: str, exports: Path
) -> None:
    with pytest.raises(EncodingFailed, match="not a number"):
        load_backend(str(tiny), backend="onnx", cache=exports).encode([tiny_model.POISON], "query")
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


def test_what_is_found_is_not_made_again(exports: Path) -> None:
    load_backend(backend="onnx", cache=exports)
    [graph] = _graphs(exports)
    before = graph.stat()
    load_backend(backend="onnx", cache=exports)
    assert graph.stat() == before


def test_a_damaged_file_is_made_again_and_leftovers_are_removed(
    tiny: Path, exports: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_backend(str(tiny), backend="onnx", cache=exports).encode(["text"], "query")
    graph = _copied(exports, tmp_path, tiny) / GRAPH
    with graph.open("r+b") as file:
        file.truncate(graph.stat().st_size // 2)
    leftover = tmp_path / f"{UNFINISHED}{_dead_pid()}-x"
    leftover.mkdir()
    again = load_backend(str(tiny), backend="onnx", cache=tmp_path).encode(["text"], "query")
    assert again == expected
    assert "damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [graph.parent.name]


def test_two_that_start_at_once_end_with_one_export(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from app.encoder.loading import load_backend; "
        "load_backend(sys.argv[1], backend='onnx', cache=sys.argv[2]); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tiny), str(tmp_path)]

    async def both() -> list[int]:
        processes = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
        return [await process.wait() for process in processes]

    assert asyncio.run(both()) == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1


def test_other_vectors_than_torchs_are_refused(tiny: Path, exports: Path, tmp_path: Path) -> None:
    load_backend(str(tiny), backend="onnx", cache=exports)
    manifest = _copied(exports, tmp_path, tiny) / MANIFEST
    fields = json.loads(manifest.read_bytes())
    fields["references"][0]["vector"] = fields["references"][3]["vector"]
    manifest.write_text(json.dumps(fields))
    load_backend(str(tiny), backend="onnx", cache=tmp_path)  # compared once, not again
    for mark in manifest.parent.glob("verified-*"):
        mark.unlink()
    with pytest.raises(ModelUnusable, match=r"other vectors .* than in torch .*cosine"):
        load_backend(str(tiny), backend="onnx", cache=tmp_path)


@pytest.mark.parametrize(
    ("backend", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")]
)
def test_a_missing_package_is_one_sentence(
    backend: str, package: str, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelUnusable) as raised:
        load_backend(backend=backend, cache=exports)
    sentence = f"needs the package {package}; install citestream[{backend}]."
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


def _copied(exports: Path, target: Path, model: Path) -> Path:
    """A copy of a model's export in a cache of its own."""
    [made] = exports.glob(f"{model.name}-*")
    return Path(shutil.copytree(made, target / made.name))


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
