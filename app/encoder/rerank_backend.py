"""A sentence-transformers cross-encoder on torch, imported when one is loaded and not before."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.encoder.backend import WARM_UP, ModelUnusable, cut
from app.encoder.collecting import without_collecting
from app.encoder.folder import digest_weights, find_model, served_name
from app.encoder.loading import REVISION_DIGITS
from app.encoder.rerank import RerankerInfo
from app.encoder.torch_backend import import_libraries


def find_reranker(model: str) -> Path:
    """The folder of a reranker, fetched where it is a name on the hub. Raises ModelUnusable, also
    for a model of another kind: sentence-transformers would give an embedding model a last layer
    of random numbers, and rank by them."""
    folder = find_model(model)
    configuration = _read(folder / "config.json")
    architectures = configuration.get("architectures") or [""]
    classifies = architectures[0].endswith("ForSequenceClassification")
    kind = _read(folder / "config_sentence_transformers.json").get("model_type")
    if kind != "CrossEncoder" and not classifies:
        raise ModelUnusable(
            f"{model} is no reranker; name a cross-encoder, "
            "as in cross-encoder/ms-marco-MiniLM-L6-v2 or BAAI/bge-reranker-v2-m3."
        )
    # Where it does not say it, the model tells when it is loaded, some seconds later.
    labels = len(configuration.get("id2label") or ())
    if classifies and labels > 1:
        raise _no_single_score(model, labels)
    return folder


def load_reranker(model: str, folder: Path, device: str, threads: int) -> "CrossEncoderBackend":
    """Load what `find_reranker` found, and warm it. `device` is auto, cpu or cuda; `threads` 0
    leaves their number to torch. Raises ModelUnusable."""
    revision = digest_weights(folder)[:REVISION_DIGITS]
    with without_collecting():
        return CrossEncoderBackend(folder, served_name(model), revision, device, threads)


class CrossEncoderBackend:
    """`app.encoder.rerank.RerankBackend` on sentence-transformers' CrossEncoder."""

    def __init__(self, folder: Path, name: str, revision: str, device: str, threads: int) -> None:
        self._torch, _ = import_libraries()
        from sentence_transformers import CrossEncoder

        self._threads = threads or self._torch.get_num_threads()
        target = None if device == "auto" else device
        try:
            self._model = CrossEncoder(str(folder), device=target, local_files_only=True)
            self._max_tokens = int(self._model.max_seq_length or 0)
            scores = self._predict([(WARM_UP, WARM_UP)])
        except Exception as error:  # whatever a broken folder makes the libraries raise
            raise ModelUnusable(f"The reranker in {folder} cannot be loaded: {error}") from error
        if scores.ndim != 1:
            raise _no_single_score(name, scores.shape[1])
        self.info = RerankerInfo(name, revision, self._max_tokens, self._model.device.type)

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        scores: list[float] = self._predict(self._pairs(query, texts)).tolist()
        return scores

    def first_too_long(self, query: str, texts: Sequence[str]) -> int | None:
        for index, pair in enumerate(self._pairs(query, texts)):
            features = self._model.preprocess(
                [pair],
                prompt=self._model.prompts.get(self._model.default_prompt_name),
                processing_kwargs={"text": {"truncation": False}},
            )
            if features["input_ids"].shape[1] > self._max_tokens > 0:
                return index
        return None

    def _pairs(self, query: str, texts: Sequence[str]) -> list[tuple[str, str]]:
        (head,) = cut([query], self._max_tokens)
        return [(head, text) for text in cut(texts, self._max_tokens)]

    def _predict(self, pairs: list[tuple[str, str]]) -> Any:
        # Each time: the encoder's own torch, where it has one, sets the number for the process.
        self._torch.set_num_threads(self._threads)
        # Without the model's activation: a sigmoid makes good texts equal where floats end.
        return self._model.predict(
            pairs,
            batch_size=len(pairs),
            activation_fn=self._torch.nn.Identity(),
            show_progress_bar=False,
        )


def _no_single_score(model: str, scores: int) -> ModelUnusable:
    return ModelUnusable(f"{model} is no reranker: it gives a pair {scores} scores instead of one.")


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}
