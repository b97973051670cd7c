"""From a model's name to a loaded model."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from app.encoder import onnx_backend, torch_backend
from app.encoder.backend import (
    DEFAULT_BACKEND,
    DEFAULT_MODEL,
    Backend,
    ModelInfo,
    ModelUnusable,
)
from app.encoder.collecting import without_collecting
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

logger = logging.getLogger(__name__)

BackendName: TypeAlias = Literal["auto", "torch", "onnx", "openvino"]
# Where exported models are kept when nothing else is said.
DEFAULT_CACHE = "~/.cache/citestream"
# Of the weights' digest: enough to tell two builds apart, short enough to be read.
REVISION_DIGITS = 12
# There where the driver of an NVIDIA card is, in containers too.
NVIDIA = Path("/dev/nvidiactl")


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
    backend: BackendName = DEFAULT_BACKEND,
    cache: str | Path = DEFAULT_CACHE,
) -> Backend:
    """Load a model and warm it. `model` is the default's name or a folder; `device` auto, cpu or
    cuda; `threads` 0 is one a core, or the backend's choice; `backend` auto is onnx, or else
    torch, with a warning that says why; `cache` is the folder that keeps what is exported for onnx
    and openvino. Raises ModelUnusable."""
    with without_collecting():
        if backend == "torch":
            found, libraries = _find(model, torch_backend.import_libraries)
            return _load_torch(found, libraries, device, threads)
        found, libraries = _find(model, onnx_backend.import_libraries)
        if backend == "auto":
            return _load_best(found, libraries, device, threads, Path(cache))
        return _load_exported(found, libraries, device, threads, backend, Path(cache))


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


def _load_torch(
    model: _Model, libraries: tuple[Any, Any], device: str, threads: int
) -> TorchBackend:
    return TorchBackend(
        libraries, model.folder, model.name, model.revision, model.traits, device, threads
    )


def _load_best(
    model: _Model, libraries: tuple[Any, Any], device: str, threads: int, cache: Path
) -> Backend:
    # A card that this ONNX Runtime cannot use is left to torch, rather than unused.
    wanted = "cuda" if device == "auto" and NVIDIA.exists() else device
    try:
        return _load_exported(model, libraries, wanted, threads, "onnx", cache)
    except ModelUnusable as error:
        logger.warning("The backend is torch, because onnx is of no use here: %s", error)
    return _load_torch(model, torch_backend.import_libraries(), device, threads)


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
    loaded = ExportedBackend(libraries, exported, runtime, info, threads)
    onnx_backend.verify(loaded, exported, runtime.name)
    return loaded
