"""The HTTP client under a vendor's SDK: warm connections, our connect deadline, no redirects."""

import httpx2

from app.providers.relay import Deadlines

# What a provider is given where the server wants no key: the SDKs refuse an empty one.
NO_KEY = "none"


def open_client(deadlines: Deadlines) -> httpx2.AsyncClient:
    """A client whose connections stay open between questions.

    Only connecting is timed here; `relay` times the answer, across attempts. A redirect would
    carry the prompt and the key to an address nobody configured, so it is an error.
    """
    timeout = httpx2.Timeout(None, connect=deadlines.connect_seconds)

    async def set_timeout(request: httpx2.Request) -> None:
        # An SDK may put one figure of its own for all phases on the request; ours stands.
        request.extensions["timeout"] = timeout.as_dict()

    return httpx2.AsyncClient(
        timeout=timeout,
        follow_redirects=False,
        limits=httpx2.Limits(
            max_connections=1000, max_keepalive_connections=100, keepalive_expiry=60
        ),
        event_hooks={"request": [set_timeout]},
    )


def is_stream(response: httpx2.Response) -> bool:
    """False for a web page or a whole JSON answer where a stream of tokens was asked for."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind not in ("text/html", "application/json")
