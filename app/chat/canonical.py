"""Values as the one JSON text that stands for them. Pure."""

import math
from typing import Any

import orjson


def canonical(value: Any, what: str) -> bytes:
    """JSON with sorted keys and without spaces. What has no JSON of its own, and would be the same
    as another value's or none (dates, UUIDs, NaN, whole numbers as keys), is a TypeError that
    begins with `what`. A tuple is written as a list."""
    try:
        _check(value, what)
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except RecursionError:
        raise TypeError(f"{what} must be JSON, and is nested too deeply.") from None
    except orjson.JSONEncodeError as error:
        raise TypeError(f"{what} must be JSON: {error}.") from None


def _check(value: Any, what: str) -> None:
    match value:
        case None | str() | int():
            return
        case float() if math.isfinite(value):
            return
        case float():
            raise TypeError(f"{what} must be JSON, which has no {value}.")
        case list() | tuple():
            for each in value:
                _check(each, what)
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"{what} must be JSON, whose keys are strings, not {key!r}.")
                _check(each, what)
        case _:
            raise TypeError(f"{what} must be JSON, which has no {type(value).__name__}.")
