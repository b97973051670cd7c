"""Python values to JSON bytes, for every value there is."""

import json
from datetime import datetime
from typing import Any

import orjson
from starlette.responses import JSONResponse


def dumps(value: Any) -> bytes:
    """JSON as UTF-8. What orjson refuses (half of a surrogate pair that a model's stream cut in
    two, integers beyond 64 bits, deep nesting) goes the slow way instead of failing."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """What `dumps` has made. ValueError for what is not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Json(JSONResponse):
    """A JSON answer through `dumps`."""

    def render(self, content: Any) -> bytes:
        return dumps(content)
