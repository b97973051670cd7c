"""Every error as RFC 9457 `application/problem+json`, with a stable `code` and a request id."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.auth import verified
from app.api.jsonbytes import dumps
from app.errors import AppError

MEDIA_TYPE = "application/problem+json"
# A wrong request is explained, not mirrored: so many errors and characters of a field's name.
MAX_ERRORS = 20
MAX_FIELD_CHARS = 100

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Codes of the errors that the router raises itself.
ROUTING_CODES = {404: "not_found", 405: "method_not_allowed"}
ROUTING_DETAILS = {
    404: "There is nothing at this address; /openapi.json lists the calls.",
    405: "This address does not take this method; see the Allow header.",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# Pydantic's sentences speak of Python; these speak of the request.
SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "int_parsing_size": "is an integer of too many digits",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "timezone_aware": "must name its zone, as in 2030-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2030-01-31T12:00:00Z",
}
# Of all patterns that a field must have.
PATTERNS = {
    r"^[\x21-\x7e]+$": "must have visible ASCII characters only, and no spaces",
    r"^(user|key):[1-9][0-9]{0,17}$": "must be a subject such as user:1 or key:1",
}

# The component `Problem` of the OpenAPI document (see `app.api.openapi`).
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that says what to do."},
        "code": {"type": "string", "description": "Stable; what programs decide by."},
        "retryable": {"type": "boolean", "description": "The same request may succeed later."},
        "request_id": {"type": "string", "description": "The response's `X-Request-ID`."},
        "errors": {
            "type": "array",
            "description": "Which fields are wrong, where several may be.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What is wrong with the request; 429 says when to try again",
        "content": CONTENT,
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
    "5XX": {
        "description": "A part of the service failed; 503 says when to try again",
        "content": CONTENT,
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
}


def problem(
    request_id: str,
    status: int,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """One problem document; `members` are its extensions. 503 always says when to come back."""
    body = {
        "type": f"urn:citestream:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": retryable,
        "request_id": request_id,
        **members,
    }
    extra = dict(headers or {})
    if retry_after is None and status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after = 1
    if retry_after is not None:
        extra["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return Response(dumps(body), status, extra, MEDIA_TYPE)


def internal_error(request_id: str) -> Response:
    """What a caller is told of a bug: nothing but where to look."""
    error = AppError()
    return problem(request_id, error.status, error.code, error.message)


def install(app: FastAPI) -> None:
    """Answer every error that a route or the router raises with a problem."""
    app.exception_handler(AppError)(_app_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)


async def told(request: Request, error: AppError | RequestValidationError) -> Response:
    """The problem of an error that was raised on the way to a response."""
    if isinstance(error, AppError):
        return await _app_error(request, error)
    return await _validation_error(request, error)


async def _app_error(request: Request, raised: AppError) -> Response:
    error = await verified(request, raised)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # The cause's class is enough to find it; its text may hold what a log must not.
        cause = type(error.__cause__).__name__ if error.__cause__ else None
        log.warning("request failed", code=error.code, cause=cause)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
    return problem(
        request.state.request_id,
        error.status,
        error.code,
        error.message,
        retryable=error.retryable,
        retry_after=error.retry_after,
        headers=headers,
    )


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    known = await verified(request, error)
    if isinstance(known, AppError):
        return await _app_error(request, known)
    errors: list[dict[str, str]] = []
    for found in error.errors():
        item = {"field": _field(found["loc"]), "message": _message(found)}
        # Of a parameter that may be left out pydantic says also that it could have been.
        if found["type"] != "none_required" and item not in errors:
            errors.append(item)
        if len(errors) == MAX_ERRORS:
            break
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors) + "."
    return problem(request.state.request_id, 422, "invalid_input", detail, errors=errors)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem(
        request.state.request_id,
        error.status_code,
        ROUTING_CODES.get(error.status_code, "http_error"),
        ROUTING_DETAILS.get(error.status_code, error.detail),
        headers=headers,
    )


def _allowed(request: Request) -> list[str]:
    """The methods of an address over all of its routes; the router names those of one only."""
    routes = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


def _field(location: Sequence[str | int]) -> str:
    """`("body", "documents", 0, "title")` as `documents[0].title`; the body itself as `body`. A
    parameter is no more than its name, whatever type of Python's it was tried as."""
    parts = location[1:] if location[0] == "body" else location[1:2]
    name = ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return name[:MAX_FIELD_CHARS] or str(location[0])


def _message(found: Mapping[str, Any]) -> str:
    kind, context = found["type"], found.get("ctx", {})
    sentence = SENTENCES.get(kind, found["msg"])
    if kind in ("too_short", "string_too_short"):
        sentence = f"must have at least {_counted(context, 'min_length')}"
    elif kind in ("too_long", "string_too_long"):
        sentence = f"must have at most {_counted(context, 'max_length')}"
    elif kind == "string_pattern_mismatch":
        sentence = PATTERNS.get(context["pattern"], sentence)
    elif kind == "literal_error" and context["expected"] in ("True", "False"):
        sentence = f"must be {context['expected'].lower()}"
    return str(sentence).removeprefix("Input ").rstrip(".")


def _counted(context: Mapping[str, Any], bound: str) -> str:
    """The bound of a list's items or of a text's characters."""
    number, noun = context[bound], "item" if context.get("field_type") == "List" else "character"
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
