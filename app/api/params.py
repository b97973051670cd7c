"""Path and query parameters that several routes share."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator
from pydantic.json_schema import SkipJsonSchema

from app.errors import NotFound

INT64 = 2**63


def _known_range(value: int) -> int:
    """No object has an id that the database could not hold."""
    if not 0 < value < INT64:
        raise NotFound
    return value


Id = Annotated[int, Path(), AfterValidator(_known_range)]
OptionalId = Annotated[int | SkipJsonSchema[None], Query()]
Limit = Annotated[int, Query(ge=1, le=200, description="How many items a page holds.")]
After = Annotated[
    str | SkipJsonSchema[None],
    Query(
        min_length=1,
        max_length=500,
        pattern=r"^[\x21-\x7e]+$",
        description="The `next` of the page before.",
    ),
]
DEFAULT_LIMIT = 50


def known_id(value: int | None) -> int | None:
    """The id of a query parameter. Raises NotFound where no object could have it."""
    return None if value is None else _known_range(value)
