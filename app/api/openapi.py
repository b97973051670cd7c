"""The OpenAPI document: what FastAPI makes of the routes, in the words of the contract."""

from typing import Any

from fastapi import FastAPI

from app.api.problems import SCHEMA

REQUEST_ID = {
    "description": "Names the request in the log; the caller's own where it sent one.",
    "schema": {"type": "string"},
}
LOCATION = {"description": "The new object.", "schema": {"type": "string"}}


def install(app: FastAPI) -> None:
    """Serve the document as `describe` completes it."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            describe(generate())  # in place: FastAPI keeps what it has made
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def describe(document: dict[str, Any]) -> None:
    """Add what FastAPI cannot know: the problem's shape, summaries and common headers."""
    document["components"]["schemas"]["Problem"] = SCHEMA
    for path in document["paths"].values():
        for operation in path.values():
            # FastAPI's summary is the function's name.
            operation["summary"] = operation["description"].partition(". ")[0].rstrip(".")
            for status, response in operation["responses"].items():
                headers = response.get("headers", {}) | {"X-Request-ID": REQUEST_ID}
                if status == "201":
                    headers["Location"] = LOCATION
                response["headers"] = headers
