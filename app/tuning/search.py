"""What suits the vector search: how many candidates HNSW keeps at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from app.bench.installation import Installation
from app.chat.model import Vector
from app.encoder.client import EncoderClient
from app.stores.passages import PgPassages
from app.tuning.findings import Finding, told
from app.tuning.patience import Patience

WIDTHS = (20, 40, 80, 160)
QUESTIONS, K = 60, 10
# Of what an exact scan finds: in portfolios a hundred times as large it is some hundredths less.
RECALL = 0.995
EXACT = 10**9
SECONDS = 10.0


async def tune_search(
    installed: Installation,
    patience: Patience,
    say: Callable[[str], None],
    note: Callable[[Finding], None],
) -> None:
    """`note` takes what is found; nothing where there is no time left."""
    if not patience.has(SECONDS):
        return
    asked = await _asked(installed)
    exact = [set(found) for found in (await _search(installed, asked, EXACT, WIDTHS[0]))[0]]
    recall, times = dict[int, float](), dict[int, float]()
    for width in WIDTHS:
        found, times[width] = await _search(installed, asked, 0, width)
        same = sum(len(wanted & set(ids)) for wanted, ids in zip(exact, found, strict=True))
        recall[width] = same / sum(map(len, exact))
        say(f"  ef {width}: recall@{K} {recall[width]:.3f} in {times[width]:.2f} ms")
    enough = [width for width in WIDTHS if recall[width] >= RECALL]
    library = installed.site.agents.library
    why = (
        f"Of the {K} nearest of {library.chunks:,} chunks HNSW found, by ef: {told(recall, '')}; "
        f"in ms: {told(times, '')}."
    )
    note(Finding("retrieval", "hnsw_ef_search", min(enough, default=WIDTHS[-1]), why))


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions as vectors of an encoder."""

    encoder: str
    vectors: Sequence[Vector]


async def _asked(installed: Installation) -> Asked:
    url = installed.site.servers.encoder_url
    assert url is not None  # noqa: S101 — one was started
    async with await EncoderClient.connect(url) as encoder:
        vectors = [await encoder.embed_query(each) for each in installed.questions(QUESTIONS)]
        return Asked(encoder.name, vectors)


async def _search(
    installed: Installation, asked: Asked, exact_below: int, width: int
) -> tuple[list[list[int]], float]:
    """The chunks found for each, and the median milliseconds that it took."""
    agents = installed.site.agents
    passages = PgPassages(agents.database, exact_below, width)
    scope, portfolio = agents.library.scope, agents.library.portfolio
    found, times = [], []
    for vector in asked.vectors:
        began = time.perf_counter()
        hits = await passages.vector_search(scope, portfolio, asked.encoder, vector, K, {})
        times.append(time.perf_counter() - began)
        found.append([hit.chunk_id for hit in hits])
    return found, median(times) * 1000
