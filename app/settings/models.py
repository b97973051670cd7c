"""The addresses of language models' servers."""

from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError


def model_server(value: str) -> str:
    """The address as it is. Raises PydanticCustomError for one that no question could be sent to,
    with what to write instead."""
    if not (value.isprintable() and " " not in value and _is_complete(value)):
        raise PydanticCustomError(
            "model_server",
            "it begins with http:// or https:// and a host, as https://models.example.com/v1 does",
        )
    return value


def _is_complete(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an IPv6 address
        return False
