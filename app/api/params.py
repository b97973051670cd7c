"""Path and query parameters that several routes share, and what holds for those of all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator
from pydantic.json_schema import SkipJsonSchema

from app.api.auth import SAFE
from app.errors import NotFound

INT64 = 2**63
# Python's `int` and pydantic's take 1_0, +1, 1.0, spaces and the digits of other scripts, too.
WHOLE_NUMBER = re.compile(r"-?[0-9]+")


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


async def check_parameters(request: Request) -> None:
    """A dependency of every call: a number has ASCII digits, and where something is changed by
    query parameters, one with a typo must not change something else. Raises
    RequestValidationError."""
    route: APIRoute = request.scope["route"]
    declared, query = route.dependant, request.query_params
    known = [field.alias for field in declared.query_params]
    strict = bool(known) and request.method not in SAFE
    found = [_unknown(name, known) for name in query if strict and name not in known]
    found += _no_numbers("path", declared.path_params, request.path_params)
    found += _no_numbers("query", declared.query_params, query)
    found += _no_numbers("header", declared.header_params, request.headers)
    if found:
        raise RequestValidationError(found)


def _unknown(name: str, known: Sequence[str]) -> dict[str, Any]:
    sentence = f"is not a query parameter of this call; known are {', '.join(known)}"
    return {"type": "unknown_parameter", "loc": ("query", name), "msg": sentence}


def _no_numbers(
    where: str, fields: Sequence[Any], sent: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Those of FastAPI's `fields` that are whole numbers and were sent as something else."""
    for field in fields:
        annotation, value = field.field_info.annotation, sent.get(field.alias)
        is_number = int in (annotation, *get_args(annotation))
        if is_number and value is not None and not WHOLE_NUMBER.fullmatch(value):
            yield {"type": "int_parsing", "loc": (where, field.alias), "msg": ""}
