"""Text Embeddings Inference's form of reranking: reading requests, writing answers. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.encoder.wire import BadRequest, read_object

MAX_TEXTS = 256  # some twelve seconds of one core


@dataclass(frozen=True, slots=True)
class RerankRequest:
    query: str
    texts: Sequence[str]
    truncate: bool  # False: a pair that is longer than the model reads is an error
    raw_scores: bool  # the model's own numbers instead of those between 0 and 1
    return_text: bool


def parse(body: bytes) -> RerankRequest:
    """Read the body of `POST /rerank`. Fields that are not known are left alone. Raises
    BadRequest."""
    fields = read_object(body)
    query = fields.get("query")
    if not isinstance(query, str) or not query:
        raise BadRequest("The query must be a string that is not empty.", "query")
    return RerankRequest(
        query=query,
        texts=_texts(fields.get("texts")),
        # As TEI's servers do unless they are told otherwise (their --auto-truncate).
        truncate=_flag(fields, "truncate", True),
        raw_scores=_flag(fields, "raw_scores", False),
        return_text=_flag(fields, "return_text", False),
    )


def render(request: RerankRequest, scores: Sequence[float]) -> bytes:
    """Write the answer, best first; equal ones stay in their order. `scores` are the model's
    own numbers, whose order is the answer's."""
    ranks: list[dict[str, Any]] = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        score = scores[index] if request.raw_scores else sigmoid(scores[index])
        rank = {"index": index, "score": score}
        ranks.append(rank | ({"text": request.texts[index]} if request.return_text else {}))
    return orjson.dumps(ranks)


def sigmoid(number: float) -> float:
    """Between 0 and 1, without overflow."""
    if number >= 0:
        return 1 / (1 + math.exp(-number))
    power = math.exp(number)
    return power / (1 + power)


def _texts(value: Any) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRequest("texts must be a list of strings.", "texts")
    if not value:
        raise BadRequest("texts is an empty list; send at least one text.", "texts")
    if len(value) > MAX_TEXTS:
        raise BadRequest(f"There are more than {MAX_TEXTS} texts; send fewer.", "texts", status=413)
    return value


def _flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:  # clients send null for what is not set
        return default
    if not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false.", name)
    return value
