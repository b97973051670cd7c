"""What suits the encoder: its threads, and how much it encodes in one go."""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from app.bench.library import documents, questions
from app.bench.processes import running
from app.encoder.client import EncoderClient
from app.tuning.findings import Finding, smallest_as_good, told
from app.tuning.patience import Patience

BATCHES = (256, 1024, 4096)
CLIENTS, QUERIES, LONE = 32, 256, 20
DOCUMENTS_AT_ONCE, LEAST_DOCUMENTS, DOCUMENT_SECONDS = 32, 64, 1.5
# The best one counts: whatever else the machine does makes it only slower.
TURNS = 2
# To start one and to measure it.
EACH_SECONDS = 10.0
TIMEOUT_SECONDS = 60.0

Command = Sequence[str]


async def tune_encoder(
    command: Command,
    cores: int,
    folder: Path,
    patience: Patience,
    say: Callable[[str], None],
    note: Callable[[Finding], None],
) -> None:
    """`command` are the arguments that start one with a model; `note` takes what is found. Nothing
    of what there was no time left for."""
    threads = 0
    numbers = list(dict.fromkeys((1, max(1, cores // 2), cores)))
    if patience.has(EACH_SECONDS * len(numbers)):
        threads = await _tune_threads(command, numbers, folder, say, note)
    if patience.has(EACH_SECONDS * len(BATCHES)):
        await _tune_batches([*command, "--threads", str(threads)], folder, say, note)


async def _tune_threads(
    command: Command,
    numbers: Sequence[int],
    folder: Path,
    say: Callable[[str], None],
    note: Callable[[Finding], None],
) -> int:
    rates, lone = dict.fromkeys(numbers, 0.0), dict.fromkeys(numbers, math.inf)
    async with _encoders(command, "--threads", numbers, folder) as encoders:
        for _ in range(TURNS):
            for number, client in encoders.items():
                lone[number] = min(lone[number], await _lone(client))
                rates[number] = max(rates[number], await _queries(client))
    for number in numbers:
        say(f"  {number} threads: {rates[number]:.0f} questions/s, {lone[number]:.1f} ms alone")
    threads = smallest_as_good(rates)
    why = f"Questions encoded by threads, {CLIENTS} at once: {told(rates, '/s')}; one alone: "
    note(Finding("", "cpu_threads", threads, why + told(lone, " ms") + "."))
    return threads


async def _tune_batches(
    command: Command, folder: Path, say: Callable[[str], None], note: Callable[[Finding], None]
) -> None:
    rates = dict.fromkeys(BATCHES, 0.0)
    async with _encoders(command, "--batch-tokens", BATCHES, folder) as encoders:
        for _ in range(TURNS):
            for tokens, client in encoders.items():
                rates[tokens] = max(rates[tokens], await _documents(client))
    for tokens in BATCHES:
        say(f"  {tokens} tokens in a batch: {rates[tokens]:.0f} paragraphs/s")
    why = f"Paragraphs encoded by tokens in a batch: {told(rates, '/s')}."
    note(Finding("encoder", "batch_tokens", smallest_as_good(rates), why))


@asynccontextmanager
async def _encoders(
    command: Command, option: str, values: Sequence[int], folder: Path
) -> AsyncIterator[dict[int, EncoderClient]]:
    """One for each value of an option, all at once: they are measured in turns, as the machine may
    have more to do at one moment than at another."""
    async with AsyncExitStack() as stack:
        yield {
            value: await stack.enter_async_context(_encoder([*command, option, str(value)], folder))
            for value in values
        }


@asynccontextmanager
async def _encoder(command: Command, folder: Path) -> AsyncIterator[EncoderClient]:
    log = folder / f"encoder-{os.urandom(3).hex()}.log"
    async with (
        running(log, *command, "--port", "0") as program,
        await EncoderClient.connect(
            f"http://127.0.0.1:{program.port}", timeout_seconds=TIMEOUT_SECONDS
        ) as client,
    ):
        yield client


async def _lone(client: EncoderClient) -> float:
    """Milliseconds of one question, with nobody else there."""
    times = []
    for text in questions(0, LONE):
        began = time.perf_counter()
        await client.embed_query(text)
        times.append(time.perf_counter() - began)
    return median(times) * 1000


async def _queries(client: EncoderClient) -> float:
    """Questions a second of many who ask."""
    waiting = iter(questions(LONE, QUERIES))

    async def ask() -> None:
        for text in waiting:
            await client.embed_query(text)

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return QUERIES / (time.perf_counter() - began)


async def _documents(client: EncoderClient) -> float:
    """Paragraphs a second, for some seconds."""
    some = (each.text.split("\n\n")[0] for each in documents(20_000))
    began = time.perf_counter()
    done = 0
    while done < LEAST_DOCUMENTS or time.perf_counter() - began < DOCUMENT_SECONDS:
        texts = [next(some) for _ in range(DOCUMENTS_AT_ONCE)]
        await client.embed_documents(texts)
        done += len(texts)
    return done / (time.perf_counter() - began)
