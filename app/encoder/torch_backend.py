"""A sentence-transformers model on torch.

The only module of the room that imports either, beside the export, and only inside its functions.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from app.encoder.backend import (
    SMALL_BATCH_TOKENS,
    WARM_UP,
    Encoded,
    EncodingFailed,
    InputType,
    ModelInfo,
    ModelUnusable,
    cut,
    cut_long,
)
from app.encoder.folder import Traits
from app.encoder.padding import RUN_COST, split


class TorchBackend:
    """`app.encoder.backend.Backend` on torch. `libraries` come from `import_libraries`."""

    def __init__(
        self,
        libraries: tuple[Any, Any],
        folder: Path,
        name: str,
        revision: str,
        traits: Traits,
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
            self._max_tokens = int(self._model.max_seq_length or 0)
            dimension = self._warm_up()
        except Exception as error:  # whatever a broken folder makes the libraries raise
            raise ModelUnusable(f"The model in {folder} cannot be loaded: {error}") from error
        self.info = ModelInfo(
            model=name,
            revision=revision,
            dimension=dimension,
            max_tokens=self._max_tokens,
            device=target,
            backend="torch",
            languages=traits.languages,
            matryoshka=traits.matryoshka,
        )

    @property
    def transformer(self) -> Any:
        """The SentenceTransformer itself, for its export."""
        return self._model

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        # What `encode_query` and `encode_document` do, without sorting, splitting and a progress
        # bar (1 ms of 6), and with the tokens counted.
        model = self._model
        prompt = model.prompts.get(input_type) or None
        with self._torch.inference_mode():
            heads = cut(texts, self._max_tokens)
            features, counts = self._tokenize(heads, prompt, input_type)
            if not all(map(self._suffices, heads, texts, counts)):
                heads = [
                    head if self._suffices(head, text, count) else cut_long(text, self._max_tokens)
                    for head, text, count in zip(heads, texts, counts, strict=True)
                ]
                features, counts = self._tokenize(heads, prompt, input_type)
            vectors = [b""] * len(texts)
            for run in split(counts, RUN_COST[model.device.type]):
                output = self._run(self._rows(features, counts, run), input_type)
                for index, row in zip(run, output, strict=True):
                    vectors[index] = row.astype("<f4").tobytes()
        return Encoded(
            vectors,
            counts,
            [
                len(head) < len(text) or (self._fills(count) and self._is_longer(prompt, text))
                for head, text, count in zip(heads, texts, counts, strict=True)
            ],
        )

    def _tokenize(
        self, texts: Sequence[str], prompt: str | None, input_type: InputType
    ) -> tuple[dict[str, Any], list[int]]:
        features = self._model.preprocess(texts, prompt=prompt, task=input_type)
        return features, features["attention_mask"].sum(dim=1).tolist()

    def _rows(
        self, features: dict[str, Any], counts: Sequence[int], run: Sequence[int]
    ) -> dict[str, Any]:
        """The features of some texts in this order, without the padding that only the others
        need."""
        if len(counts) == 1:
            return features
        longest = max(counts[index] for index in run)
        left = self._model.tokenizer.padding_side == "left"
        columns = slice(-longest, None) if left else slice(longest)
        shape = features["attention_mask"].shape
        return {
            key: value[run, columns] if getattr(value, "shape", None) == shape else value
            for key, value in features.items()
        }

    def _run(self, features: dict[str, Any], input_type: InputType) -> Any:
        """The vectors of a batch as an array."""
        torch, model = self._torch, self._model
        small = features["attention_mask"].numel() <= SMALL_BATCH_TOKENS
        torch.set_num_threads(self._small_threads if small else self._threads)
        features = {
            key: value.to(model.device) if isinstance(value, torch.Tensor) else value
            for key, value in features.items()
        }
        vectors = model(features, task=input_type)["sentence_embedding"].float()
        vectors = torch.nn.functional.normalize(vectors, dim=1).cpu()
        if not bool(torch.isfinite(vectors).all()):
            raise EncodingFailed("The model produced a vector that is not a number.")
        return vectors.numpy()

    def _fills(self, count: int) -> bool:
        return count >= self._max_tokens > 0

    def _suffices(self, head: str, text: str, count: int) -> bool:
        return self._fills(count) or len(head) == len(text)

    def _is_longer(self, prompt: str | None, text: str) -> bool:
        """Whether a text that fills the model is longer than that, or fits exactly."""
        tokens = self._model.tokenizer((prompt or "") + text, truncation=False, verbose=False)
        return len(tokens["input_ids"]) > self._max_tokens

    def _warm_up(self) -> int:
        """Run the model until it is at its speed; returns the dimension."""
        vector = self.encode([WARM_UP], "query").vectors[0]
        self.encode([WARM_UP * 8] * 4, "document")
        if self._threads > 1 and self._model.device.type == "cpu":
            self._small_threads = self._measure_small()
        return len(vector) // 4

    def _measure_small(self) -> int:
        """Threads for a small batch: all of them only where that is clearly faster than one.

        More threads gain a small model nothing there (7.5 ms with one, 6.7 ms with two on two idle
        cores) and lose a lot when another process wants the core (7 ms against 10 to 230 ms).
        """
        best = {}
        for threads in (self._threads, 1):
            self._small_threads = threads
            best[threads] = min(_timed(self.encode, [WARM_UP], "query") for _ in range(4))
        return self._threads if best[self._threads] < 0.7 * best[1] else 1


def import_libraries() -> tuple[Any, Any]:
    """torch and SentenceTransformer, quiet and offline: three of the four seconds of a start.
    Raises ModelUnusable."""
    _stay_quiet_and_offline()
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
    """Prepare the environment of this process; before the libraries are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # Threads that spin while they wait make each other late on a shared machine: a batch of eight
    # long texts beside a busy core took 835 ms spinning, 589 ms waiting (320 and 342 ms idle).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|sentence_transformers)\b")


def _timed(call: Callable[..., Any], *arguments: Any) -> float:
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
