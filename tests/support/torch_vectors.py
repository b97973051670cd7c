"""What `citestream encoder --backend torch` makes of texts, asked without a process of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.encoder.backend import Backend, InputType
from app.encoder.loading import load_backend
from tests.support import torched


@dataclass(frozen=True)
class TorchVectors:
    """Of a model with this id, one vector a text."""

    id: str
    vectors: list[list[float]]
    truncated: list[bool]


def torch_vectors(
    model: str | Path, texts: Sequence[str], input_type: InputType = "document"
) -> TorchVectors:
    """Raises RuntimeError, which tells the error of the backend."""
    return TorchVectors(**torched.call(__name__, "_encode", str(model), list(texts), input_type))


def _encode(model: str, texts: Sequence[str], input_type: InputType) -> dict[str, Any]:
    backend = _backend(model)
    encoded = backend.encode(texts, input_type)
    return {
        "id": backend.info.id,
        "vectors": [memoryview(vector).cast("f").tolist() for vector in encoded.vectors],
        "truncated": encoded.truncated,
    }


@cache
def _backend(model: str) -> Backend:
    return load_backend(model, threads=1, backend="torch")
