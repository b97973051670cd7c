"""Another encoder and back, round after round, while the portfolio is written and searched."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import httpx2

from app.embedded import embedded_servers
from app.encoder.client import EncoderClient
from tests.soak.encoder_change import bag_model
from tests.soak.encoder_change.change import Change, State
from tests.soak.encoder_change.clients import Client, Counts
from tests.soak.encoder_change.library import CHUNK_CHARS, Library
from tests.soak.encoder_change.rankings import Rankings
from tests.soak.processes import complete, service, variables_of
from tests.soak.row import Row, Stage, at_least, at_most

DIMENSIONS = (96, 64)
LASTING = 600  # documents that stay; with four chunks each
PASSING = 60  # uris of each writer, whose documents come, change and go
AT_ONCE = 50  # documents in a request while the portfolio is filled
CLIENT_SECONDS = 60.0
# Eight clients and a change keep a small machine busy: an answer that is late is not what this
# row is about, and one that lacks a source could not be judged. The database's deadline stays as
# it is shipped: a change that blocks somebody for that long must show.
SOURCE_SECONDS = 20
ENCODER_SECONDS = 30


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with AsyncExitStack() as stack:
        change = await _servers(stage, stack)
        urls = await _api_processes(stage, stack, change)
        http = [
            await stack.enter_async_context(
                httpx2.AsyncClient(base_url=url, timeout=CLIENT_SECONDS, trust_env=False)
            )
            for url in urls
        ]
        made = await http[0].post("/api/portfolios", json={"name": "soak"})
        change.portfolio_id = made.raise_for_status().json()["id"]
        library, counts = Library(stage.chance), Counts(stage.note)
        rankings = Rankings(change.encoders)

        def client(number: int) -> Client:
            chance = random.Random(stage.chance.random())
            return Client(http[number % 2], change.portfolio_id, library, rankings, counts, chance)

        await _fill(stage, client(0), library, rankings)
        await _under_load(stage, change, client, counts)
        for figure in _figures(counts, change.states, await change.state()):
            yield figure
        stage.note(f"Killed {_told(change.killed)}.")
        stage.note(f"Results by encoder: {_told(counts.encoders)}.")
        stage.note(
            f"Degraded: {_told(counts.degraded)}; sources failed: {_told(_failures(stage))}."
        )


async def _under_load(
    stage: Stage, change: Change, client: Callable[[int], Client], counts: Counts
) -> None:
    """Writers and askers of both processes, as long as the encoder goes there and back."""
    agents = (await client(0).http.get("/api/agents")).raise_for_status().json()
    agent_id = agents["items"][0]["id"]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(2):
            uris = [f"passing-{number}-{n}" for n in range(PASSING)]
            ids: dict[str, int] = {}
            writer, exact, hybrid, page = client(number), client(0), client(number), client(number)
            group.create_task(writer.until(over, partial(writer.write, uris, ids)))
            group.create_task(exact.until(over, exact.search_vectors))
            group.create_task(hybrid.until(over, hybrid.search))
            group.create_task(page.until(over, partial(page.chat, agent_id)))
        try:
            await change.go_on(stage.seconds, lambda: _summary(counts))
        finally:
            over.set()


async def _servers(stage: Stage, stack: AsyncExitStack) -> Change:
    """Postgres, Valkey and two encoders, with the database prepared for the first."""
    stage.say("Starting Postgres, Valkey and two encoders")
    servers = await stack.enter_async_context(embedded_servers(stage.folder / "data", encoder=None))
    settings = []
    for dimension in DIMENSIONS:
        model = stage.folder / f"bag-{dimension}"
        await asyncio.to_thread(bag_model.make, model, dimension)
        options = ["--model", str(model), "--port", "0", "--backend", "torch", "--threads", "1"]
        started = await stack.enter_async_context(
            service(stage, f"encoder-{dimension}", "encoder", *options)
        )
        settings.append(
            {"URL": started.url, "MODEL": model.name, "TIMEOUT_SECONDS": str(ENCODER_SECONDS)}
        )
    clients = []
    for each in settings:
        connecting = EncoderClient.connect(
            each["URL"], model=each["MODEL"], timeout_seconds=ENCODER_SECONDS
        )
        clients.append(await stack.enter_async_context(await connecting))
    change = Change(stage, servers, settings, clients)
    await complete(stage, "migrate", "migrate", **change.stores, **variables_of(settings[0], None))
    return change


async def _api_processes(stage: Stage, stack: AsyncExitStack, change: Change) -> list[str]:
    """Two, both told of both encoders: the first one searches exactly, so that what a search has
    to find is known; the second as it is shipped, by HNSW."""
    urls = []
    for number, exact_below in enumerate(("1000000", "1000")):
        variables = {
            **change.stores,
            **variables_of(*change.settings),
            "PORT": "0",
            "CITESTREAM_INGEST__CHUNK_CHARS": str(CHUNK_CHARS),
            "CITESTREAM_RETRIEVAL__SOURCE_DEADLINE_SECONDS": str(SOURCE_SECONDS),
            "CITESTREAM_RETRIEVAL__EXACT_BELOW_CHUNKS": exact_below,
        }
        started = await stack.enter_async_context(
            service(stage, f"api-{number}", "serve", **variables)
        )
        urls.append(started.url)
    return urls


async def _fill(stage: Stage, client: Client, library: Library, rankings: Rankings) -> None:
    lasting = [library.compose(f"lasting-{number}") for number in range(LASTING)]
    for start in range(0, LASTING, AT_ONCE):
        await client.add(lasting[start : start + AT_ONCE])
    if client.counts.of["failed requests"]:
        raise RuntimeError("The portfolio could not be filled.")
    texts = [each for document in lasting for each in document.encoded]
    rankings.fix(texts)
    stage.say(f"The portfolio has {len(texts)} chunks")


def _summary(counts: Counts) -> str:
    wrong = sum(counts.of[each] for each in WRONG)
    return f"{counts.of['requests']} requests, {counts.of['answers']} answers, {wrong} wrong"


def _figures(counts: Counts, states: list[State], final: State) -> list[tuple[str, float]]:
    """What was counted, then what was there at the end of each round and of all, added up."""
    counted = (
        "requests", "answers", "results whose order was checked",
        "answers that had to have a document", *WRONG,
    )  # fmt: skip
    return [
        ("changes of the encoder", len(states)),
        ("chunks at the end", final.chunks),
        *((each, counts.of[each]) for each in counted),
        ("chunks left without a vector", sum(each.without for each in [*states, final])),
        ("old vectors left", sum(each.old for each in [*states, final])),
        ("kills of reencode", sum(each.kills for each in states)),
    ]


def _failures(stage: Stage) -> Counter[str]:
    """Why sources were left out of answers, from what the API processes logged."""
    failures: Counter[str] = Counter()
    for log in stage.folder.glob("api-*.log"):
        for line in log.read_text().splitlines():
            if '"source_failed"' in line:
                told = json.loads(line)
                failures[f"{told['source']} ({told['reason']})"] += 1
    return failures


def _told(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "none"


WRONG = (
    "failed requests",
    "results mixing encoders",
    "answers missing an indexed document",
    "answers with a text that was gone",
    "degraded answers",
)
LIMITS = {
    "changes of the encoder": at_least(2),
    "kills of reencode": at_least(1),
    "results whose order was checked": at_least(100),
    "answers that had to have a document": at_least(100),
    **{each: at_most(0) for each in WRONG},
    "chunks left without a vector": at_most(0),
    "old vectors left": at_most(0),
}
ROW = Row(
    17,
    "Changing the encoder is safe",
    LIMITS,
    ("changes of the encoder", "failed requests", "results mixing encoders"),
    measure,
)
