"""Pages of other sites that may call the API: with a key that they have, never with a cookie."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.api.middleware import SECURITY, request_id_of
from app.api.problems import problem

METHODS = ("GET", "POST", "PATCH", "DELETE")
TAKEN = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID")
# Of a preflight that is refused.
KEPT = ("vary", "access-control-allow-methods", "access-control-allow-headers")
# What a page may read beside the body.
SHOWN = (
    "X-Request-ID",
    "Retry-After",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "RateLimit-Policy",
    "Server-Timing",
)


def install(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages of these sites in; without any, nothing is in a request's way."""
    if origins:
        app.add_middleware(
            Preflights,
            allow_origins=list(origins),
            allow_methods=list(METHODS),
            allow_headers=list(TAKEN),
            expose_headers=list(SHOWN),
            allow_credentials=False,
        )


class Preflights(CORSMiddleware):
    """Answers them as everything else is answered: with a request's id, as data, and with a problem
    where it is refused."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        request_id = request_id_of(request_headers.raw)
        if response.status_code != HTTPStatus.OK:
            detail = f"{bytes(response.body).decode()}; see docs/security.md for what may be asked."
            told = {name: response.headers[name] for name in KEPT if name in response.headers}
            response = problem(request_id, response.status_code, "http_error", detail, headers=told)
        response.raw_headers += [(b"x-request-id", request_id.encode()), *SECURITY]
        return response
