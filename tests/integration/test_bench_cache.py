"""`citestream bench cache` and `bench stream` run, at a small scale, and measure what they say."""

import tempfile
from pathlib import Path

import pytest

from app.bench.cache import REQUESTS, bench_cache
from app.bench.requests import connection, get
from app.bench.stream import bench_stream
from app.bench.workers import WorkerFailed
from tests.support.vendors import Script, VendorServer


async def test_cached_answers_beside_a_bare_route() -> None:
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        Path(folder).chmod(0o711)
        made = await bench_cache(1, Path(folder), lines.append, requests=10)
    figures = {each.name: each for each in made}
    for name in (
        "answers that were not cached, or not whole",
        "cached answers without a stored turn",
    ):
        assert figures[name].values == [0]
    bare = figures["a Redis GET and a Postgres SELECT, bare route: p50"]
    said = figures["cached stream to its last token: p50"]
    whole = figures["cached stream to its end, the turn stored: p50"]
    assert bare.median > 0 and 0 < said.median <= whole.median
    assert lines[-1].startswith("round 1 of 1: bare ")
    assert REQUESTS >= 100  # a p99 of fewer is none


async def test_readers_of_a_run_beside_sockets() -> None:
    lines: list[str] = []
    figures = await bench_stream(1, lines.append, readers=20)
    names = [each.name for each in figures]
    assert names[1] == "a run with 20 readers, beyond that"
    assert figures[0].median > 0 and figures[1].limit == 3.0
    assert figures[-1].values == [0]  # each token was measured by itself
    assert len(lines) == 1


async def test_a_refusal_ends_the_measurement() -> None:
    async with VendorServer(Script(status=503)) as server, connection(server.url) as http:
        with pytest.raises(WorkerFailed, match="503"):
            await http.ask(get("/openai/v1/chat/completions"))
