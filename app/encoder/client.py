"""The encoder as the rest of the service sees it: any server that speaks OpenAI's embeddings.

Free of torch and numpy, because every API process imports it.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import orjson

from app.chat.model import Vector
from app.encoder.answers import check, our_info, read_vectors
from app.encoder.backend import InputType
from app.encoder.connection import Connection
from app.encoder.folder import known_languages
from app.errors import EncoderUnavailable, InvalidInput, TextNotEncodable

# Documents go in requests of this size: small enough to be answered well before a deadline on
# two cores (64 texts of 1,000 characters take 3 s), large enough that the way there costs nothing.
MAX_TEXTS = 64
MAX_CHARS = 64_000
# Where nobody says: whoever offers an encoder to all the world has trained it for that.
MANY = ("*",)


class EncoderClient:
    """`app.chat.ports.Encoder` over HTTP. One client serves a whole process; close it at the end.

    `url` is as `Connection` takes it; EncoderUnavailable for any other form. `timeout_seconds` is
    the deadline of each request. Nothing is sent, and nothing can be encoded, before `introduce`.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        model: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._connection = Connection(url, api_key, timeout_seconds)
        self._model = model
        self._name: str | None = None
        self._dimension: int | None = None
        self._languages: Sequence[str] = ()
        self._knows_input_type = False

    @classmethod
    async def connect(
        cls,
        url: str,
        api_key: str | None = None,
        model: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> Self:
        """A client that has introduced itself. Raises what `introduce` raises."""
        client = cls(url, api_key, model, timeout_seconds)
        try:
            await client.introduce()
        except BaseException:
            await client.aclose()
            raise
        return client

    async def introduce(self) -> None:
        """Learn what the server hosts, once: from its `/info`, or else, for any other
        OpenAI-compatible server, from one embedding.

        Raises EncoderUnavailable, also when the server hosts another model than the configured
        one; it may be tried again.
        """
        info = our_info(await self._connection.send("GET", "info"))
        if info is None:
            if self._model is None:
                raise EncoderUnavailable("The encoder does not tell its model; configure its name.")
            self._dimension = len((await self._embed(["dimension"], "query"))[0])
            self._name = self._model
            self._languages = known_languages(self._model) or MANY
            return
        if self._model not in (None, info["model"], info["id"]):
            raise EncoderUnavailable(
                f"The encoder hosts {info['model']}, but {self._model} is configured."
            )
        # With the revision in every request, a server restarted with other weights refuses it.
        self._name = self._model = info["id"]
        self._dimension = info["dimension"]
        self._languages = info.get("languages") or MANY
        self._knows_input_type = True

    @property
    def name(self) -> str:
        """Model and revision where the server tells it, else the model's name."""
        assert self._name is not None  # noqa: S101 — introduce() learnt it
        return self._name

    @property
    def dimension(self) -> int:
        assert self._dimension is not None  # noqa: S101 — introduce() learnt it
        return self._dimension

    @property
    def languages(self) -> Sequence[str]:
        """As the server tells them, else what is known of a model by this name."""
        return self._languages

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question. Raises EncoderUnavailable, InvalidInput for an empty text,
        TextNotEncodable where the model has no vector for it."""
        return (await self._embed([text], "query"))[0]

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        """The vectors of texts, in their order; any number of them."""
        vectors: list[Vector] = []
        for part in split(texts):
            try:
                vectors += await self._embed(part, "document")
            except TextNotEncodable as error:
                index = len(vectors) + error.index
                raise TextNotEncodable(error.message, index=index) from error
        return vectors

    async def ping(self) -> None:
        """Raise EncoderUnavailable unless the server is ready to encode as it was introduced."""
        if not self._knows_input_type:
            check(await self._connection.send("GET", "v1/models"))
            return
        info = our_info(await self._connection.send("GET", "info"))
        if info is None or info["id"] != self._name:
            hosted = "no model that it tells" if info is None else info["id"]
            raise EncoderUnavailable(f"The encoder hosts {hosted} now, and not {self._name}.")

    def statistics(self) -> dict[str, int]:
        """Of its connections."""
        return self._connection.statistics()

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _embed(self, texts: Sequence[str], input_type: InputType) -> list[list[float]]:
        fields: dict[str, Any] = {
            "model": self._model,
            "input": texts,
            "encoding_format": "base64",
        }
        if self._knows_input_type:  # others may refuse a field they do not know
            fields["input_type"] = input_type
        try:
            body = orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise InvalidInput("The text is not valid Unicode.") from error
        response = check(await self._connection.send("POST", "v1/embeddings", body))
        return read_vectors(response.content, len(texts), self._dimension)


def split(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list into parts that fit into a request each."""
    start = chars = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == MAX_TEXTS or chars + len(text) > MAX_CHARS):
            yield texts[start:index]
            start, chars = index, 0
        chars += len(text)
    if start < len(texts):
        yield texts[start:]
