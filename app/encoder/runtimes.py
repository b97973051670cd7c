"""What runs an exported graph: ONNX Runtime or OpenVINO. Both imported only where they are used."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from app.encoder.backend import ModelUnusable


class Runtime(Protocol):
    """A program that runs graphs, for one device."""

    @property
    def name(self) -> str:
        """The program, its version and its device."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda."""
        ...

    @property
    def runs_side_by_side(self) -> bool:
        """Whether `run` may be called from several threads at once, and gains by it."""
        ...

    def load(self, graph: Path, threads: int) -> None:
        """Load a graph, in the place of the former; of the `threads` that each run has 0 is the
        program's own choice. Raises ModelUnusable."""
        ...

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """The graph's one output, an array, for these arrays."""
        ...


class OnnxRuntime:
    """ONNX Runtime. Raises ModelUnusable where it is missing or has not got the device."""

    def __init__(self, device: str) -> None:
        self._library = _import("onnxruntime", "onnx", "encoder")
        available = "CUDAExecutionProvider" in self._library.get_available_providers()
        if device == "cuda" and not available:
            raise ModelUnusable(
                "This ONNX Runtime does not support the device cuda; install onnxruntime-gpu "
                "instead of onnxruntime."
            )
        self.device = "cuda" if available and device != "cpu" else "cpu"
        self.runs_side_by_side = self.device == "cpu"
        self.name = f"onnxruntime-{self._library.__version__}-{self.device}"
        self._session: Any = None

    def load(self, graph: Path, threads: int) -> None:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Threads that spin while they wait take the processor from whoever shares it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = "CUDAExecutionProvider" if self.device == "cuda" else "CPUExecutionProvider"
        self._session = None  # two of a large model may be more than there is memory for
        try:
            self._session = self._library.InferenceSession(
                str(graph), options, providers=[provider]
            )
        except Exception as error:  # whatever a graph that it does not know makes it raise
            raise ModelUnusable(f"ONNX Runtime cannot load {graph}: {error}") from error

    def run(self, inputs: Mapping[str, Any]) -> Any:
        return self._session.run(None, dict(inputs))[0]


class OpenVino:
    """OpenVINO, on the processor. Raises ModelUnusable where it is missing."""

    device = "cpu"
    runs_side_by_side = False  # one request, which is used again

    def __init__(self, device: str) -> None:
        if device == "cuda":
            raise ModelUnusable("The backend openvino has no device cuda; use onnx or torch.")
        self._library = _import("openvino", "openvino", "encoder,openvino")
        self.name = f"openvino-{self._library.__version__.partition('-')[0]}-cpu"
        self._request: Any = None

    def load(self, graph: Path, threads: int) -> None:
        # Left to itself it takes the processor's fastest precision, not the model's.
        hints: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            hints["INFERENCE_NUM_THREADS"] = threads
        try:
            model = self._library.compile_model(str(graph), "CPU", hints)
            self._request = model.create_infer_request()
        except Exception as error:  # whatever a graph that it does not know makes it raise
            raise ModelUnusable(f"OpenVINO cannot load {graph}: {error}") from error

    def run(self, inputs: Mapping[str, Any]) -> Any:
        return self._request.infer(dict(inputs))[0]


def _import(package: str, backend: str, extras: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelUnusable(
            f"The backend {backend} needs the package {package}; install citestream[{extras}]."
        ) from error
