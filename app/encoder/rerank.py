"""What a loaded reranker is: values, errors, the port, and which pairs it reads together. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.encoder.batching import Limits, estimate_tokens


class RerankFailed(Exception):
    """The model gave no usable score. `index` is the text's place in its request, where it is
    known which text it was."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)


class PairTooLong(Exception):
    """The query and the text at `index` are longer than the model reads, and may not be cut."""

    def __init__(self, index: int, max_tokens: int) -> None:
        self.index = index
        self.max_tokens = max_tokens
        super().__init__(f"Text {index} is too long.")


@dataclass(frozen=True, slots=True)
class RerankerInfo:
    """What is loaded. `revision` is a digest of the weights."""

    model: str
    revision: str
    max_tokens: int
    device: str
    backend: str = "torch"

    @property
    def id(self) -> str:
        return f"{self.model}@{self.revision}"


class RerankBackend(Protocol):
    """A loaded cross-encoder. Not thread-safe: load and call it from one thread."""

    @property
    def info(self) -> RerankerInfo: ...

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query, as one batch: the model's own numbers (logits),
        higher is better. A pair longer than the model reads is cut."""
        ...

    def first_too_long(self, query: str, texts: Sequence[str]) -> int | None:
        """The first text that would be cut beside this query."""
        ...


def batches(query: str, texts: Sequence[str], max_tokens: int, limits: Limits) -> list[list[int]]:
    """The indices of the texts in batches of like length, the longest first, each with at most
    `limits.batch_tokens` with padding; a text that is more than that is alone. `max_tokens` is
    what the model reads of a pair, 0 for any number."""
    head = estimate_tokens(query)
    costs = [head + estimate_tokens(text) for text in texts]
    if max_tokens:
        costs = [min(max_tokens, cost) for cost in costs]
    found: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        room = min(limits.batch_texts, limits.batch_tokens // longest) if longest else 0
        if not found or len(found[-1]) >= room:
            found.append([])
            longest = costs[index]
        found[-1].append(index)
    return found
