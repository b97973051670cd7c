"""Pages of other sites that may call the API: with a key that they have, never with a cookie."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "PATCH", "DELETE")
TAKEN = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
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
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=list(METHODS),
            allow_headers=list(TAKEN),
            expose_headers=list(SHOWN),
            allow_credentials=False,
        )
