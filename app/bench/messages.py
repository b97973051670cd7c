"""Requests as the bytes that clients send, made before anything is measured."""

from typing import Any

import orjson


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(path: str, body: dict[str, Any], key: str | None = None) -> str:
    """With a key where one is given."""
    content = orjson.dumps(body).decode()
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content.encode())}\r\n\r\n"
        f"{content}"
    )
