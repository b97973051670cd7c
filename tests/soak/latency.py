"""How long short requests take, by a clock that nobody disturbs: in a process of its own.

A line of JSON on standard input is a `Task`, a line on standard output its times.
"""

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

ROUND = 250  # requests, of which a 99th percentile is taken
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Request:
    url: str
    method: str = "GET"
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Send the requests in turn, each on a connection of its own that stays open, with a pause
    after each, until the time is over."""

    requests: Sequence[Request]
    seconds: float
    pause_seconds: float


async def times(
    requests: Sequence[Request], seconds: float, pause_seconds: float = 0.002
) -> list[list[float]]:
    """Seconds of each answer, by request. RuntimeError where one is no success."""
    task = json.dumps(asdict(Task(requests, seconds, pause_seconds))).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        told, complaint = await process.communicate(task)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(complaint.decode().strip().splitlines()[-1])
    measured: list[list[float]] = json.loads(told)
    return measured


def p99(values: Sequence[float]) -> float:
    """Of rounds of so many, the median: one hiccup of a shared machine is in one of them."""
    return percentile(values, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    rounds = [values[at : at + ROUND] for at in range(0, len(values), ROUND)]
    whole = [each for each in rounds if len(each) == ROUND] or rounds
    return median(sorted(each)[int(share * (len(each) - 1))] for each in whole)


def _measure(requests: Sequence[dict[str, Any]], seconds: float, pause: float) -> list[list[float]]:
    connections, found = [_connect(each["url"]) for each in requests], [[] for _ in requests]
    order = list(range(len(requests)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for number in order:
            found[number].append(_time(connections[number], requests[number]))
            time.sleep(pause)
        order.append(order.pop(0))  # nobody is always behind the same other
    return found


def _connect(url: str) -> http.client.HTTPConnection:
    address = urlsplit(url)
    made = http.client.HTTPConnection(address.hostname or "", address.port, TIMEOUT_SECONDS)
    made.connect()
    return made


def _time(connection: http.client.HTTPConnection, request: dict[str, Any]) -> float:
    body = json.dumps(request["body"]) if request["body"] is not None else None
    headers = {"Content-Type": "application/json"} if body is not None else {}
    began = time.perf_counter()
    connection.request(request["method"], urlsplit(request["url"]).path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    taken = time.perf_counter() - began
    if answer.status >= 300:
        raise RuntimeError(f"{request['url']}: {answer.status} {content!r:.300}")
    return taken


if __name__ == "__main__":
    told = json.loads(sys.stdin.read())
    json.dump(_measure(told["requests"], told["seconds"], told["pause_seconds"]), sys.stdout)
