"""From a model's name to a loaded model."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from app.encoder import onnx_backend, torch_backend
from app.encoder.backend import DEFAULT_MODEL, Backend, ModelInfo
from app.encoder.exported import find_or_export
from app.encoder.folder import (
    Traits,
    check_weights,
    digest_weights,
    find_model,
    read_traits,
    served_name,
)
from app.encoder.onnx_backend import ExportedBackend
from app.encoder.runtimes import OnnxRuntime, OpenVino, Runtime
from app.encoder.torch_backend import TorchBackend

BackendName: TypeAlias = Literal["torch", "onnx", "openvino"]
# Where exported models are kept when nothing else is said.
DEFAULT_CACHE = "~/.cache/citestream"
# Of the weights' digest: enough to tell two builds apart, short enough to be read.
REVISION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class _Model:
    folder: Path
    name: str
    revision: str
    traits: Traits


def load_backend(
    model: str = DEFAULT_MODEL,
    device: str = "auto",
    threads: int = 0,
    backend: BackendName = "torch",
    cache: str | Path = DEFAULT_CACHE,
) -> Backend:
    """Load a model and warm it. `model` is the default's name or a folder; `device` auto, cpu or
    cuda; `threads` 0 leaves their number to the backend; `cache` is the folder that keeps what is
    exported for onnx and openvino. Raises ModelUnusable."""
    # Millions of objects survive these imports; collecting among them is a fifth of the start.
    gc.disable()
    try:
        if backend == "torch":
            found, libraries = _find(model, torch_backend.import_libraries)
            return TorchBackend(
                libraries, found.folder, found.name, found.revision, found.traits, device, threads
            )
        found, libraries = _find(model, onnx_backend.import_libraries)
        return _load_exported(found, libraries, device, threads, backend, Path(cache))
    finally:
        gc.freeze()  # what is loaded now stays: later collections need not look at it
        gc.enable()


def _find(
    model: str, import_libraries: Callable[[], tuple[Any, Any]]
) -> tuple[_Model, tuple[Any, Any]]:
    """The model in its folder, checked, and the libraries that it needs."""
    folder = find_model(model)
    name = served_name(model)
    # Hashing runs beside the imports: it holds no lock of the interpreter.
    with ThreadPoolExecutor(1) as helper:
        digest = helper.submit(digest_weights, folder)
        libraries = import_libraries()
        check_weights(model, digest.result())
    revision = digest.result()[:REVISION_DIGITS]
    return _Model(folder, name, revision, read_traits(folder, name)), libraries


def _load_exported(
    model: _Model,
    libraries: tuple[Any, Any],
    device: str,
    threads: int,
    backend: BackendName,
    cache: Path,
) -> ExportedBackend:
    # Before ten seconds are spent on an export that it could not run.
    runtime: Runtime = OnnxRuntime(device) if backend == "onnx" else OpenVino(device)
    exported = find_or_export(model.folder, model.revision, cache.expanduser())
    runtime.load(exported.graph, threads)
    info = ModelInfo(
        model=model.name,
        revision=model.revision,
        dimension=exported.dimension,
        max_tokens=exported.max_tokens,
        device=runtime.device,
        backend=backend,
        languages=model.traits.languages,
        matryoshka=model.traits.matryoshka,
    )
    loaded = ExportedBackend(libraries, exported, runtime, info)
    onnx_backend.verify(loaded, exported, runtime.name)
    return loaded
