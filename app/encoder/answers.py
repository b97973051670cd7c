"""What an encoder's server answered: read, checked, and turned into vectors or an error."""

import base64
import math
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson

from app.encoder.link import Response
from app.encoder.wire import unpack_floats
from app.errors import EncoderUnavailable, InvalidInput, TextNotEncodable

# How our service names one text of a request.
PLACE = re.compile(r"input\[(\d+)\]")


def our_info(response: Response) -> dict[str, Any] | None:
    """What Citestream's encoder tells of itself; None for any other server's answer."""
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        check(response)
    try:
        info = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    ours = isinstance(info, dict) and {"id", "model", "dimension"} <= info.keys()
    return info if ours and response.is_success else None


def check(response: Response) -> Response:
    """The response, when it is a success. Raises EncoderUnavailable, InvalidInput, and
    TextNotEncodable, which says nothing against the server."""
    status = response.status_code
    if response.is_success:
        return response
    if status in (400, 413, 422):
        raise InvalidInput(f"The encoder refused the text: {_error_message(response)}")
    place = PLACE.fullmatch(str(_error(response).get("param")))
    if place and _error(response).get("code") == "encoding_failed":
        raise TextNotEncodable(index=int(place[1]))
    seconds = response.headers.get("retry-after", "")
    raise EncoderUnavailable(
        f"The encoder answered {status}: {_error_message(response)}",
        retry_after=float(seconds) if seconds.isdigit() else None,
    )


def _error_message(response: Response) -> str:
    return str(_error(response).get("message") or response.reason_phrase)


def _error(response: Response) -> dict[str, Any]:
    try:
        fields = orjson.loads(response.content)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return fields if isinstance(fields, dict) else {}


def read_vectors(content: bytes, count: int, dimension: int | None) -> list[list[float]]:
    """The vectors of an answer, in the order of the request, of length 1. Raises
    EncoderUnavailable for anything but `count` vectors of the dimension, and TextNotEncodable for
    one that has no length."""
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
    return [_normalised(vector, index) for index, vector in enumerate(vectors)]


def _read_vector(embedding: str | Sequence[float]) -> list[float]:
    if isinstance(embedding, str):
        return unpack_floats(base64.b64decode(embedding, validate=True))
    return [float(number) for number in embedding]  # a server that knows no base64


def _normalised(vector: list[float], index: int) -> list[float]:
    norm = math.hypot(*vector)
    if not math.isfinite(norm) or norm == 0:
        raise TextNotEncodable(
            "The encoder gave a vector that is not a number or zero.", index=index
        )
    if abs(norm - 1) < 1e-3:
        return vector
    return [number / norm for number in vector]
