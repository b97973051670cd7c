"""By which encoder a search was answered, told from its order alone.

The two encoders' cosines have nothing to do with each other, so the order of a list that mixes
them, or that lacks half of a portfolio's vectors, is neither one's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

# Of a cosine between vectors in float16.
TOLERANCE = 3e-3


class DocumentEncoder(Protocol):
    @property
    def name(self) -> str: ...

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


class Rankings:
    """Vectors of every text ever written, by both encoders."""

    def __init__(self, encoders: Sequence[DocumentEncoder]) -> None:
        self._encoders = encoders
        self._vectors: dict[str, dict[str, np.ndarray]] = {each.name: {} for each in encoders}
        self._lasting: list[str] = []
        self._matrices: dict[str, np.ndarray] = {}

    async def learn(self, texts: Sequence[str]) -> None:
        """Before they are sent."""
        for encoder in self._encoders:
            vectors = await encoder.embed_documents(texts)
            known = self._vectors[encoder.name]
            for text, vector in zip(texts, vectors, strict=True):
                known[text] = np.asarray(vector, np.float32)

    def fix(self, texts: Sequence[str]) -> None:
        """These stay in the portfolio from beginning to end."""
        self._lasting = list(texts)
        for name, known in self._vectors.items():
            self._matrices[name] = np.stack([known[each] for each in texts])

    def whose(self, question: str, found: Sequence[str], *, whole: bool) -> set[str]:
        """The encoders that may have put these texts in this order for a question that is itself
        a text. `whole`: they are all that was found, best first, so that none of the lasting ones
        may be left out."""
        return {name for name in self._vectors if self._is(name, question, found, whole)}

    def _is(self, name: str, question: str, found: Sequence[str], whole: bool) -> bool:
        known = self._vectors[name]
        asked = known[question]
        scores = np.array([known[each] @ asked for each in found])
        if np.any(np.diff(scores) > TOLERANCE):
            return False
        if not whole:
            return True
        lasting = set(self._lasting)
        mine = np.array([s for s, each in zip(scores, found, strict=True) if each in lasting])
        best = -np.sort(-(self._matrices[name] @ asked))[: len(mine)]
        return bool(np.all(np.abs(mine - best) <= TOLERANCE))


def by_vector(passages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the encoder read of those passages that the vector search found, in its order."""
    ranked = [each for each in passages if "vector" in each["sources"]]
    ranked.sort(key=lambda each: each["sources"]["vector"])
    return [f"{each['title']}\n{each['text']}" for each in ranked]
