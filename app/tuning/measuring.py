"""One measurement after the other, as far as there is time."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.bench.installation import installation
from app.tuning.encoder import tune_encoder
from app.tuning.findings import Finding, local_mb
from app.tuning.patience import Patience
from app.tuning.search import tune_search
from app.tuning.service import tune_service

CHUNKS = 5000
# Of the time; the rest is for what is measured with all servers running.
ENCODERS_SHARE = 0.4
# To start all servers and to fill them.
INSTALLATION_SECONDS = 45.0
# To end what was started.
END_SECONDS = 8.0
MEASURED = ("cpu_threads", "batch_tokens", "hnsw_ef_search", "workers", "pool_size")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tuned: a machine, and an encoder's model with its program. `cache` is the folder that
    keeps what was exported of models."""

    cores: int
    memory_mb: int
    model: str
    backend: str
    cache: str

    def encoder(self) -> Sequence[str]:
        """The arguments of Python that start the encoder."""
        command = ["-m", "app.cli", "encoder", "--model", self.model]
        return [*command, "--backend", self.backend, "--cache", self.cache]


async def measure(
    subject: Subject, folder: Path, patience: Patience, say: Callable[[str], None]
) -> list[Finding]:
    """What there was time for. Servers of its own are started in the folder. Raises EmbeddedError,
    WorkerFailed, EncoderUnavailable."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(max(0.0, patience.left() - END_SECONDS)) as limit:
            await _measure(subject, folder, patience, say, found)
    except TimeoutError:
        if not limit.expired():
            raise
    if missing := [name for name in MEASURED if name not in {each.name for each in found}]:
        say(f"There is no time left: what was not measured stays as shipped: {', '.join(missing)}.")
    workers = next((each.value for each in found if each.name == "workers"), 1)
    return [*found, _local_cache(subject.memory_mb, workers)]


async def _measure(
    subject: Subject,
    folder: Path,
    patience: Patience,
    say: Callable[[str], None],
    found: list[Finding],
) -> None:
    """Into `found`, as far as it comes."""
    say("[1/3] The encoder")
    some = Patience(patience.left() * ENCODERS_SHARE)
    await tune_encoder(subject.encoder(), subject.cores, folder, some, say, found.append)
    if not patience.has(INSTALLATION_SECONDS):
        return
    say("[2/3] The vector search, on servers of its own")
    command = [sys.executable, *subject.encoder(), *_options(found)]
    async with installation(
        folder, say, chunks=CHUNKS, model=subject.model, encoder=command, yardstick=False
    ) as installed:
        await tune_search(installed, patience, say, found.append)
        say("[3/3] The API")
        await tune_service(installed, subject.cores, patience, say, found.append)


def _options(found: Sequence[Finding]) -> list[str]:
    """The encoder as it was found best."""
    options = {"cpu_threads": "--threads", "batch_tokens": "--batch-tokens"}
    chosen = [(options[each.name], str(each.value)) for each in found if each.name in options]
    return [part for pair in chosen for part in pair]


def _local_cache(memory_mb: int, workers: int) -> Finding:
    gigabytes = f"{memory_mb / 1024:.1f} GB"
    why = f"A hundredth of the memory, which is {gigabytes}, for {workers} workers; 64 at most."
    return Finding("cache", "local_mb", local_mb(memory_mb, workers), why)
