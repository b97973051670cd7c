"""Sites as a browser names them: scheme, host and port."""

import re
from collections.abc import Sequence

from pydantic_core import PydanticCustomError

ANY = "*"
ORIGIN = re.compile(r"(https?)://((?:[a-z0-9-]+\.)*[a-z0-9-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")
UNSAID = {"http": "80", "https": "443"}  # ports that browsers leave out


def origins(given: str | Sequence[str]) -> tuple[str, ...]:
    """The sites of a text with commas between them, each once and as browsers write it; `*` alone
    is every site. Raises PydanticCustomError."""
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(dict.fromkeys(_origin(part.strip().lower()) for part in parts if part.strip()))


def _origin(text: str) -> str:
    if text == ANY:
        return text
    found = ORIGIN.fullmatch(text)
    if found is None:
        raise PydanticCustomError(
            "origin", "it takes sites such as https://app.example.com, without a path"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and port != UNSAID[scheme] else "")
