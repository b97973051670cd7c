"""Which values are JSON, and that each has one text."""

from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from app.chat.canonical import canonical


class Color(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        ("é\n", '"é\\n"'),
        ({"b": [1, (2, None)], "a": {"d": 1, "c": 2}}, '{"a":{"c":2,"d":1},"b":[1,[2,null]]}'),
    ],
)
def test_what_is_json_has_one_text(value: Any, text: str) -> None:
    assert canonical(value, "It").decode() == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "no set"),
        (b"bytes", "no bytes"),
        (date(2024, 1, 2), "no date"),
        (UUID(int=1), "no UUID"),
        (Color.RED, "no Color"),
        (Decimal(1), "no Decimal"),
        (Point(1), "Point"),
        (float("nan"), "no nan"),
        ([{"deep": float("inf")}], "no inf"),
        ({1: "one"}, "not 1"),
        (2**70, "64-bit"),
        ("\ud800", "surrogates"),
        (CYCLE, "nested too deeply"),
    ],
    ids=str,
)
def test_what_is_not_is_refused_by_name(value: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"^The thing must be JSON.*{says}"):
        canonical(value, "The thing")
