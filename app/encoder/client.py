"""The encoder as the rest of the service sees it: any server that speaks OpenAI's embeddings.

Free of torch and numpy, because every API process imports it.
"""

import asyncio
import base64
import math
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import httpx2
import orjson

from app.chat.model import Vector
from app.encoder.backend import InputType
from app.encoder.wire import unpack_floats
from app.errors import EncoderUnavailable, InvalidInput

# Documents go in requests of this size: small enough to be answered well before a deadline on
# two cores (64 texts of 1,000 characters take 3 s), large enough that the way there costs nothing.
MAX_TEXTS = 64
MAX_CHARS = 64_000
# Shorter than the server's 75 s: a connection that is about to be closed is not used again.
KEEP_ALIVE_SECONDS = 60.0
# A server that has just been restarted is back within this time, or not soon.
RETRY_PAUSE_SECONDS = 0.05


class EncoderClient:
    """`app.chat.ports.Encoder` over HTTP. One client serves a whole process; close it at the end.

    Get one from `connect`.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        model: str | None,
        timeout_seconds: float,
    ) -> None:
        self._http = http
        self._model = model
        self._name = model or ""
        self._dimension: int | None = None
        self._knows_input_type = False
        self._timeout_seconds = timeout_seconds

    @classmethod
    async def connect(
        cls,
        url: str,
        api_key: str | None = None,
        model: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> Self:
        """Connect and learn what the server hosts: from its `/info`, or else, for any other
        OpenAI-compatible server, from one embedding.

        `url` is `http://host:port`, `https://host/v1` or `unix:///path` (percent-encoded where
        need be; `http+unix://` means the same). `timeout_seconds` is the deadline of each
        request. Raises EncoderUnavailable, also when the server hosts another model than `model`.
        """
        client = cls(_open(url, api_key), model, timeout_seconds)
        try:
            await client._introduce()
        except BaseException:
            await client.aclose()
            raise
        return client

    @property
    def name(self) -> str:
        """Model and revision where the server tells it, else the model's name."""
        return self._name

    @property
    def dimension(self) -> int:
        assert self._dimension is not None  # noqa: S101 — connect() learnt it
        return self._dimension

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question. Raises EncoderUnavailable, InvalidInput for an empty text."""
        return (await self._embed([text], "query"))[0]

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        """The vectors of texts, in their order; any number of them."""
        vectors: list[Vector] = []
        for part in split(texts):
            vectors += await self._embed(part, "document")
        return vectors

    async def ping(self) -> None:
        """Raise EncoderUnavailable unless the server is ready to encode."""
        if self._knows_input_type:
            _check(await self._send("GET", "health"))
        else:
            _check(await self._send("GET", "v1/models"))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _introduce(self) -> None:
        info = _our_info(await self._send("GET", "info"))
        if info is None:
            if self._model is None:
                raise EncoderUnavailable("The encoder does not tell its model; configure its name.")
            self._dimension = len((await self._embed(["dimension"], "query"))[0])
            return
        if self._model not in (None, info["model"], info["id"]):
            raise EncoderUnavailable(
                f"The encoder hosts {info['model']}, but {self._model} is configured."
            )
        # With the revision in every request, a server restarted with other weights refuses it.
        self._name = self._model = info["id"]
        self._dimension = info["dimension"]
        self._knows_input_type = True

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
        response = _check(await self._send("POST", "v1/embeddings", body))
        return _read_vectors(response.content, len(texts), self._dimension)

    async def _send(self, method: str, path: str, body: bytes | None = None) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._http.request(method, path, content=body)
                except httpx2.TransportError:
                    # Encoding twice does no harm, and a connection may just have been closed.
                    await asyncio.sleep(RETRY_PAUSE_SECONDS)
                    return await self._http.request(method, path, content=body)
        except TimeoutError as error:
            raise EncoderUnavailable(
                f"The encoder did not answer within {self._timeout_seconds:g} s."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EncoderUnavailable("The encoder cannot be reached just now.") from error


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


def _open(url: str, api_key: str | None) -> httpx2.AsyncClient:
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https", "unix", "http+unix") or not rest:
        raise EncoderUnavailable("The encoder's address must be http://…, https://… or unix:///….")
    socket_path = unquote(rest) if scheme.endswith("unix") else None
    base = "http://encoder" if socket_path else url.rstrip("/").removesuffix("/v1")
    limits = httpx2.Limits(
        max_connections=None,
        max_keepalive_connections=32,
        keepalive_expiry=KEEP_ALIVE_SECONDS,
    )
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=socket_path, limits=limits),
        base_url=base,
        headers=headers,
        timeout=None,  # each request has a deadline of its own
        trust_env=False,  # a proxy for the web is not on the way to the encoder
    )


def _our_info(response: httpx2.Response) -> dict[str, Any] | None:
    """What Citestream's encoder tells of itself; None for any other server's answer."""
    if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        _check(response)
    try:
        info = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    ours = isinstance(info, dict) and {"id", "model", "dimension"} <= info.keys()
    return info if ours and response.is_success else None


def _check(response: httpx2.Response) -> httpx2.Response:
    """The response, when it is a success. Raises EncoderUnavailable or InvalidInput."""
    status = response.status_code
    if response.is_success:
        return response
    if status in (400, 413, 422):
        raise InvalidInput(f"The encoder refused the text: {_error_message(response)}")
    seconds = response.headers.get("retry-after", "")
    raise EncoderUnavailable(
        f"The encoder answered {status}: {_error_message(response)}",
        retry_after=float(seconds) if seconds.isdigit() else None,
    )


def _error_message(response: httpx2.Response) -> str:
    try:
        return str(orjson.loads(response.content)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return response.reason_phrase


def _read_vectors(content: bytes, count: int, dimension: int | None) -> list[list[float]]:
    """The vectors of an answer, in the order of the request, of length 1. Raises
    EncoderUnavailable for anything but `count` finite vectors of the dimension."""
    try:
        data = sorted(orjson.loads(content)["data"], key=lambda item: item["index"])
        vectors = [_read_vector(item["embedding"]) for item in data]
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderUnavailable("The encoder's answer cannot be read.") from error
    if len(vectors) != count:
        raise EncoderUnavailable(f"The encoder gave {len(vectors)} vectors for {count} texts.")
    for vector in vectors:
        if dimension is not None and len(vector) != dimension:
            raise EncoderUnavailable(
                f"The encoder gave a vector of {len(vector)} numbers instead of {dimension}."
            )
    return [_normalised(vector) for vector in vectors]


def _read_vector(embedding: str | Sequence[float]) -> list[float]:
    if isinstance(embedding, str):
        return unpack_floats(base64.b64decode(embedding, validate=True))
    return [float(number) for number in embedding]  # a server that knows no base64


def _normalised(vector: list[float]) -> list[float]:
    norm = math.hypot(*vector)
    if not math.isfinite(norm) or norm == 0:
        raise EncoderUnavailable("The encoder gave a vector that is not a number or zero.")
    if abs(norm - 1) < 1e-3:
        return vector
    return [number / norm for number in vector]
