"""OpenAI's embeddings format: reading requests, writing answers. Pure."""

import base64
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from app.encoder.backend import InputType, ModelInfo

MAX_INPUTS = 2048  # as OpenAI's


class BadRequest(Exception):
    """The request is not valid. `param` names the field; `close` says that nothing which follows
    on its connection can be read."""

    def __init__(
        self, message: str, param: str | None = None, *, status: int = 400, close: bool = False
    ) -> None:
        self.message = message
        self.param = param
        self.status = status
        self.close = close
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    texts: Sequence[str]
    input_type: InputType
    base64: bool
    model: str | None
    dimensions: int | None = None  # fewer than the model's own, where it allows that


def parse(body: bytes, info: ModelInfo) -> EmbeddingRequest:
    """Read the body of `POST /v1/embeddings`. Fields that are not known are left alone, because
    clients send more from version to version. Raises BadRequest."""
    fields = read_object(body)
    return EmbeddingRequest(
        texts=_texts(fields.get("input")),
        input_type=cast(
            InputType, _one_of(fields, "input_type", ("document", "query"), "document")
        ),
        base64=_one_of(fields, "encoding_format", ("float", "base64"), "float") == "base64",
        model=_string(fields, "model"),
        dimensions=_dimensions(fields, info),
    )


def read_object(body: bytes) -> dict[str, Any]:
    """The fields of a body that is a JSON object. Raises BadRequest."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON in UTF-8: {error}.") from None
    if not isinstance(fields, dict):
        raise BadRequest("The body must be a JSON object.")
    return fields


def render_items(
    request: EmbeddingRequest, vectors: Sequence[bytes], first: int = 0
) -> list[orjson.Fragment]:
    """Write some of the answer's vectors, of which the first has the index `first`."""
    if request.dimensions is not None:
        vectors = [shorten(vector, request.dimensions) for vector in vectors]
    return [
        orjson.Fragment(
            orjson.dumps(
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": base64.b64encode(vector).decode()
                    if request.base64
                    else unpack_floats(vector),
                }
            )
        )
        for index, vector in enumerate(vectors, first)
    ]


def render(data: Sequence[orjson.Fragment], tokens: int, truncated: int, model: str) -> bytes:
    """Write the answer around them. `usage` is OpenAI's and says how many texts were truncated."""
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "truncated": truncated}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


def render_error(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Write an error as OpenAI's clients read it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def shorten(vector: bytes, dimensions: int) -> bytes:
    """The beginning of a Matryoshka model's vector, of length 1 again."""
    numbers = unpack_floats(vector[: 4 * dimensions])
    norm = math.hypot(*numbers)
    return struct.pack(f"<{dimensions}f", *(number / norm if norm else 0.0 for number in numbers))


def unpack_floats(data: bytes) -> list[float]:
    """Little-endian float32 as numbers. Raises ValueError when the length does not fit."""
    numbers = array("f")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _texts(value: Any) -> Sequence[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("The input must be a string or a list of strings.", "input")
    if not texts:
        raise BadRequest("The input is an empty list; send at least one text.", "input")
    if len(texts) > MAX_INPUTS:
        raise BadRequest(f"The input has more than {MAX_INPUTS} texts; send fewer.", "input")
    if "" in texts:
        raise BadRequest("The input has an empty string; an empty text has no vector.", "input")
    return texts


def _one_of(fields: dict[str, Any], name: str, known: Sequence[str], default: str) -> str:
    value = fields.get(name)
    if value is None:  # clients send null for what is not set
        return default
    if value not in known:
        raise BadRequest(f"{name} must be {' or '.join(known)}.", name)
    return cast(str, value)


def _dimensions(fields: dict[str, Any], info: ModelInfo) -> int | None:
    value = fields.get("dimensions")
    if value in (None, info.dimension) and not isinstance(value, bool | float):
        return None
    if not info.matryoshka:
        raise BadRequest(f"This model has {info.dimension} dimensions and no others.", "dimensions")
    if type(value) is not int or not 1 <= value < info.dimension:
        raise BadRequest(f"dimensions must be from 1 to {info.dimension}.", "dimensions")
    return value


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a string.", name)
    return value
