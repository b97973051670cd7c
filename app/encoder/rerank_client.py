"""The reranker as retrieval sees it: any server that ranks texts over HTTP.

Free of torch and numpy, because every API process imports it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from app.encoder.connection import Connection
from app.encoder.link import Response
from app.errors import EncoderUnavailable, InvalidInput

NAME = "reranker"
# As many as Text Embeddings Inference takes in a request unless it is told otherwise.
MAX_TEXTS = 32


class _Form(NamedTuple):
    """Where a kind of server is asked, and what it calls the texts."""

    path: str
    texts: str
    options: dict[str, Any]


# Text Embeddings Inference and our own; then what Jina, Cohere, Infinity and vLLM have in common.
FORMS = (
    _Form("rerank", "texts", {"truncate": True}),
    _Form("v1/rerank", "documents", {}),
    _Form("rerank", "documents", {}),
)
SERVER_ERROR = 500
# How a server says that it was asked in another one's form.
OTHER_FORM = (400, 404, 405, 422)


class RerankerClient:
    """`app.retrieval.ports.Reranker` over HTTP. One client serves a whole process; close it at
    the end.

    `url` is as the encoder's (see `Connection`; EncoderUnavailable for any other form), and
    `timeout_seconds` the deadline of each request. The server's form is learnt from its answers.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_seconds: float = 2.0) -> None:
        self._connection = Connection(url, api_key, timeout_seconds, NAME)
        self._forms: Sequence[_Form] = FORMS

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query, in their order: higher is better, on the server's
        scale. Raises EncoderUnavailable, also for an answer that is not a finite number for each
        text, and InvalidInput for a text that is not valid Unicode."""
        scores: list[float] = []
        for start in range(0, len(texts), MAX_TEXTS):
            scores += await self._scores(query, texts[start : start + MAX_TEXTS])
        return scores

    async def ping(self) -> None:
        """Raise EncoderUnavailable where no server answers. It is not asked to rank anything, which
        may cost money; nor does every kind of server know the path."""
        response = await self._connection.send("GET", "health")
        if response.status_code >= SERVER_ERROR:
            raise EncoderUnavailable(f"The reranker answered {response.status_code}.")

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        refused: Response | None = None
        for form in self._forms:
            response = await self._ask(form, query, texts)
            if response.is_success:
                scores = read_scores(response.content, len(texts))
                self._forms = (form, *(other for other in self._forms if other is not form))
                return scores
            # The first one's, in the form that fitted when one did, tells most.
            refused = refused or response
            if response.status_code not in OTHER_FORM:
                break
        assert refused is not None  # noqa: S101 — there are forms
        raise EncoderUnavailable(
            f"The reranker answered {refused.status_code}: {refused.text[:200]}"
        )

    async def _ask(self, form: _Form, query: str, texts: Sequence[str]) -> Response:
        try:
            body = orjson.dumps({"query": query, form.texts: texts, **form.options})
        except orjson.JSONEncodeError as error:
            raise InvalidInput("The text is not valid Unicode.") from error
        return await self._connection.send("POST", form.path, body)


def read_scores(content: bytes, count: int) -> list[float]:
    """The scores of an answer in the order of the request's texts. Raises EncoderUnavailable for
    anything but one finite number for each of them."""
    try:
        answer = orjson.loads(content)
        items = answer if isinstance(answer, list) else answer["results"]
        scores = {item["index"]: _score(item) for item in items}
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderUnavailable("The reranker's answer cannot be read.") from error
    if len(items) != count or scores.keys() != set(range(count)):
        raise EncoderUnavailable(f"The reranker gave {len(items)} scores for {count} texts.")
    return [scores[index] for index in range(count)]


def _score(item: dict[str, Any]) -> float:
    score = float(item["score"] if "score" in item else item["relevance_score"])
    if not math.isfinite(score):
        raise ValueError("a score is not a number")
    return score
