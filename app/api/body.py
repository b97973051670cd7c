"""Reading a request's body: counted while it comes in, refused with a sentence, never a 500.

FastAPI's own body parameters would read before authenticating, take a missing content type for a
validation error and pass lone surrogates on; so routes ask for `json_body(Model)` instead.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.api.auth import Administrator, Member
from app.errors import TooLarge, UnsupportedMediaType
from app.ingest.json_values import INT64, SUSPICIOUS_ESCAPE, bounded_json

Model = TypeVar("Model", bound=BaseModel)

# A message of 8,000 characters is at most 32 KB as UTF-8 and 96 KB as \uXXXX escapes.
SMALL_BODY_BYTES = 256 * 1024
# Up to here a body is looked at twice where it is not as plain as most are.
PLAIN_BYTES = 16 * 1024


def json_body(model: type[Model]) -> Callable[..., Awaitable[Model]]:
    """A dependency: the caller is known first, then the body is read, parsed and checked."""

    async def read(request: Request, caller: Member) -> Model:
        return parse_json(model, await read_json(request, SMALL_BODY_BYTES))

    return read


def json_body_of_administrator(model: type[Model]) -> Callable[..., Awaitable[Model]]:
    """The same for calls that a member may not make: 403 comes before a word about the body."""

    async def read(request: Request, caller: Administrator) -> Model:
        return parse_json(model, await read_json(request, SMALL_BODY_BYTES))

    return read


async def read_json(request: Request, limit: int) -> bytes:
    """The bytes of a JSON body. Raises UnsupportedMediaType, TooLarge."""
    if media_type(request) != "application/json":
        raise UnsupportedMediaType("Send the body with `Content-Type: application/json`.")
    refuse_encodings(request)
    receive = limited(request, limit)
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def parse_json(model: type[Model], body: bytes) -> Model:
    """The checked body. Raises MalformedBody, InvalidInput, RequestValidationError."""
    suspicious = SUSPICIOUS_ESCAPE.search(body) is not None
    value = None if suspicious or len(body) > PLAIN_BYTES else _plain(body)
    if value is None:
        value = bounded_json(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError(
            [{**detail, "loc": ("body", *detail["loc"])} for detail in found]
        ) from None


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def refuse_encodings(request: Request) -> None:
    """Raise UnsupportedMediaType for a compressed body: its size would be the sender's word."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding.")


def limited(request: Request, limit: int) -> Receive:
    """The request's body, which raises TooLarge as soon as it is known to exceed `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > limit:
        raise _too_large(limit)
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return receive


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes; send less or in parts.")


def _plain(body: bytes) -> dict[str, Any] | None:
    """An object of texts, small whole numbers and the like, of which there is nothing to check;
    None for all else. Most bodies are, and this takes a tenth of the time."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_plain = type(value) is dict and all(
        each is None or type(each) in (str, bool) or (type(each) is int and -INT64 <= each < INT64)
        for each in value.values()
    )
    return value if is_plain else None
