"""JSON from a stranger: parsed by Python's own parser, and bounded in depth and in number.

Its cost before it is refused is the sender's to choose, up to some hundred bytes of memory for two
of the body; what is more than a small body is looked through in a confined process first.
"""

import json
import re
from typing import Any, NoReturn

from app.errors import InvalidInput, MalformedBody

MAX_DEPTH = 32
MAX_VALUES = 200_000
INT64 = 2**63
# Escapes that could be a NUL (Postgres stores none) or half of a surrogate pair (UTF-8 has none).
SUSPICIOUS_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def bounded_json(body: bytes) -> Any:
    """The value of a JSON body. Raises MalformedBody, and InvalidInput for what could be parsed
    but neither stored nor sent back."""
    value = _loads(body)
    _check_values(value, look_at_text=SUSPICIOUS_ESCAPE.search(body) is not None)
    return value


def _loads(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
        )
    except UnicodeDecodeError:
        raise MalformedBody("The body is not valid UTF-8; send JSON encoded as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(
            f"The body is not valid JSON at line {error.lineno}, column {error.colno}; "
            "send a JSON object."
        ) from None
    except RecursionError:
        raise _too_deep() from None


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"The body is not valid JSON: {name} is not a JSON number.")


def _parse_int(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else INT64
    if not -INT64 <= number < INT64:
        raise InvalidInput("A number in the body does not fit into 64 bits.")
    return number


def _parse_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise InvalidInput("A number in the body is too large.")
    return number


def _check_values(value: Any, *, look_at_text: bool) -> None:
    """Raise InvalidInput for what could be parsed but neither stored nor sent back."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while pending:
        item, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        if seen > MAX_VALUES:
            raise InvalidInput(f"The body has more than {MAX_VALUES:,} values; send it in parts.")
        if isinstance(item, dict):
            pending += [(part, depth + 1) for part in item.values()]
            if look_at_text:
                pending += [(key, depth + 1) for key in item]
        elif isinstance(item, list):
            pending += [(part, depth + 1) for part in item]
        elif look_at_text and isinstance(item, str) and UNSTORABLE.search(item):
            raise InvalidInput(
                "A text in the body contains NUL or half of a surrogate pair; "
                "send valid Unicode without NUL."
            )


def _too_deep() -> InvalidInput:
    return InvalidInput(f"The body is nested more than {MAX_DEPTH} levels deep.")
