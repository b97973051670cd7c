"""Asking a deployment over HTTP as its users do, and hearing exactly what comes."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import orjson
import psutil

TERMINAL = ("done", "error")


@dataclass(slots=True)
class Heard:
    """What came of one stream. `events` are the data of whole events, `last_id` the number of the
    last of them; `raw` is every byte. `first_token` and `seconds` are counted from the request on.
    `ended` is the terminal event's type; None where the connection ended without one. `left`
    tells that it was we who ended it."""

    status: int
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: bytes = b""
    first_token: float | None = None
    seconds: float = 0.0
    ended: Literal["done", "error"] | None = None
    last_id: int = 0
    left: bool = False

    @property
    def text(self) -> str:
        """The answer, as far as it came."""
        return "".join(each["content"] for each in self.events if each["type"] == "token")

    @property
    def run_id(self) -> str | None:
        """None where not even the first event came, or it was attached to behind that."""
        return next((each["run_id"] for each in self.events if each["type"] == "start"), None)


async def stream(
    http: httpx2.AsyncClient,
    url: str,
    agent: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    leave_after: int | None = None,
    **body: Any,
) -> Heard:
    """Ask for a stream, and hear it to its end or until so many events have come. A connection
    that breaks ends it; one that cannot be made raises."""
    path = f"{url}/api/agents/{agent}/chat/stream"
    asked = {"message": message, **body}
    return await _hear(http, "POST", path, headers, leave_after, asked)


async def follow(
    http: httpx2.AsyncClient,
    url: str,
    run_id: str,
    *,
    after: int | None = None,
    headers: Mapping[str, str] | None = None,
    leave_after: int | None = None,
) -> Heard:
    """Attach to a run, behind the event of this number (as `Last-Event-ID`)."""
    named = {} if after is None else {"Last-Event-ID": str(after)}
    path = f"{url}/api/runs/{run_id}/events"
    return await _hear(http, "GET", path, {**named, **(headers or {})}, leave_after, None)


async def ask(
    http: httpx2.AsyncClient,
    url: str,
    agent: int,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    **body: Any,
) -> httpx2.Response:
    """The answer whole."""
    path = f"{url}/api/agents/{agent}/chat"
    return await http.post(path, json={"message": message, **body}, headers=headers)


async def statistics_of(http: httpx2.AsyncClient, url: str) -> dict[str, float]:
    """What a replica counts, from `/metrics`, by name and labels as they are written there."""
    lines = (await http.get(f"{url}/metrics")).raise_for_status().text.splitlines()
    told = (each.rpartition(" ") for each in lines if each and not each.startswith("#"))
    return {name: float(value) for name, _, value in told}


def rss_mb(pid: int) -> float:
    """The resident memory of one process."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


async def _hear(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    leave_after: int | None,
    body: Mapping[str, Any] | None,
) -> Heard:
    began, heard = time.perf_counter(), Heard(0)
    try:
        async with http.stream(method, url, json=body, headers=headers) as response:
            heard.status = response.status_code
            await _read(response.aiter_raw(), heard, began, leave_after)
    except httpx2.HTTPError:
        if not heard.status:
            raise
    heard.seconds = time.perf_counter() - began
    return heard


async def _read(
    pieces: AsyncIterator[bytes], heard: Heard, began: float, leave_after: int | None
) -> None:
    rest = b""
    async for piece in pieces:
        heard.raw += piece
        *frames, rest = (rest + piece).split(b"\n\n")
        for frame in frames:
            _take(frame, heard, began)
        if leave_after is not None and len(heard.events) >= leave_after:
            heard.left = True
            return


def _take(frame: bytes, heard: Heard, began: float) -> None:
    for line in frame.split(b"\n"):
        if line.startswith(b"id:"):
            heard.last_id = int(line[3:])
        elif line.startswith(b"data:"):
            event = orjson.loads(line[5:])
            heard.events.append(event)
            if event["type"] == "token" and heard.first_token is None:
                heard.first_token = time.perf_counter() - began
            if event["type"] in TERMINAL:
                heard.ended = event["type"]
