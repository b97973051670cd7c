"""The benches that ask questions, on one small installation: each measures what it says, and ours
and the yardstick answer the same questions."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from app.bench import auth, cache, concurrency, memory, pool, scale, sync_vs_async, tiers
from app.bench.figures import Figure
from app.bench.installation import OURS, THEIRS, Installation, installation
from app.bench.results import named
from app.bench.zipf import Workload
from app.tuning.findings import Finding
from app.tuning.patience import Patience
from app.tuning.search import tune_search
from app.tuning.service import EACH_SECONDS, Load, tune_service

VARIABLES = {
    **memory.VARIABLES,
    **pool.VARIABLES,
    **auth.VARIABLES,
    "CITESTREAM_DATABASE__POOL_SIZE": "7",
}
CACHED = "answers that were cached and should not be, or were not"


@pytest.fixture(scope="module")
async def running(exports: Path) -> AsyncIterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        async with installation(
            folder, lambda _: None, chunks=200, cache=exports, variables=VARIABLES
        ) as made:
            yield made


def by_name(figures: Sequence[Figure]) -> dict[str, Figure]:
    named = {figure.name: figure for figure in figures}
    assert all(len(figure.values) in (1, 2) for figure in figures)
    return named


async def test_ours_and_the_yardstick_answer_the_same_questions(running: Installation) -> None:
    lines: list[str] = []
    load = concurrency.Load(
        lone=10, first=4, first_clients=2, whole=4, whole_clients=2, streams=3, tokens=40,
        cached=10, cached_distinct=2, cached_many=20, cached_clients=4,
    )  # fmt: skip
    made = by_name(await concurrency.bench_concurrency(running, lines.append, 1, load))
    assert made[CACHED].values == [0]
    assert all(figure.median > 0 for name, figure in made.items() if name != CACHED)
    assert {figure.yardstick for name, figure in made.items() if THEIRS in name} == {True, False}
    assert sum(figure.limit is not None for figure in made.values()) >= 5
    assert lines[0].startswith("round 1 of 1, ours (baseline): first token 1")

    [question] = running.questions(1)
    for program, fewest in ((OURS, 1), (THEIRS, 50)):  # ours says what comes at once at once
        requests = await running.requests(program, [question], "paced-0-0-50")
        heard = await running.ask(program, requests, 1)
        assert fewest <= heard["tokens"] <= 50
    assert running.wrong == 0


async def test_each_tier_has_its_part(running: Installation) -> None:
    load = tiers.Load(new=12, new_clients=3, cached=40, cached_clients=4, cached_distinct=2)
    lines: list[str] = []
    made = {
        each.name: each for each in named(await tiers.bench_tiers(running, lines.append, 1, load))
    }
    assert made[CACHED].values == [0]
    for what in ("new answers, 3 at once", "cached answers, 4 at once"):
        assert made[what].median > 0
        parts = {tier: made[f"{what}: processor an answer, {tier}"].median for tier in tiers.TIERS}
        busy = {tiers.API, tiers.POSTGRES, tiers.BESIDE}
        assert all(parts[tier] > 0 for tier in busy), parts
    assert made[f"new answers, 3 at once: processor an answer, {tiers.ENCODER}"].median > 0
    assert made[f"new answers, 3 at once: processor an answer, {tiers.REDIS}"].median > 0
    assert lines[0].startswith("round 1 of 1: new answers ")


async def test_memory_and_open_streams(running: Installation) -> None:
    load = memory.Load(
        questions=4, clients=2, streams=6, opening=2, settle_seconds=0.1, watch_seconds=0.5
    )
    made = by_name(await memory.bench_memory(running, lambda _: None, 1, load))
    for program in (OURS, THEIRS):
        assert made[f"6 streams of a token each 100 ms: tokens, {program}"].median > 0
    assert made["an API process: start to ready"].median > 0


async def test_side_by_side_and_one_after_another(running: Installation) -> None:
    load = sync_vs_async.Load(questions=4, first_token_ms=50, tokens=8)
    made = by_name(await sync_vs_async.bench_sync_vs_async(running, lambda _: None, 2, load))
    name = "4 questions, the provider at 50 ms"
    assert made[f"{name}: one after another, {OURS}"].median >= 0.2
    assert made[f"{name}: times as fast side by side, {OURS}"].limit == 20
    assert made["answers that were cached"].values == [0]


async def test_connections_are_counted(running: Installation) -> None:
    load = pool.Load(questions=8, clients=2, streams=12, opening=4, beside=4)
    made = by_name(await pool.bench_pool(running, lambda _: None, 1, load))
    for server in (pool.POSTGRES, pool.REDIS, pool.PROVIDER):
        assert made[f"{server}: connections used again, 2 at once"].median <= 100
    assert made["Postgres: connections lent, 12 open streams"].values == [0]
    assert made["answers that were cached, or refused"].values == [0]


async def test_settings_reach_what_is_measured(running: Installation) -> None:
    assert (await running.site.statistics())["pools"]["questions"]["size"] == 7


async def test_what_credentials_add(running: Installation) -> None:
    lines: list[str] = []
    load = auth.Load(requests=10)
    made = await auth.bench_auth(running, lines.append, 2, load)
    assert {len(figure.values) for figure in made[:-1]} == {2}
    assert made[-1].values == [0], "each was answered, and from the cache"
    assert sum(figure.limit == auth.ADDED_MS for figure in made) == 6
    assert lines[-1].startswith("round 2 of 2: none ")


async def test_cached_answers(running: Installation) -> None:
    lines: list[str] = []
    load = cache.Load(requests=10, items=800, workload=Workload(questions=40, distinct=10))
    made = by_name(await cache.bench_cache(running, lines.append, 1, load))
    for name in (
        "answers that were not cached, or not whole",
        "cached answers without a stored turn",
    ):
        assert made[name].values == [0]
    said = made["cached stream to its last token: p50"]
    whole = made["cached stream to its end, the turn stored: p50"]
    assert 0 < said.median <= whole.median
    for name in ("cached stream to its last token", "cached answer whole, the turn stored"):
        assert made[f"{name}: p50 / bare route"].limit == 2
    assert lines[0].startswith("round 1 of 1: bare ")
    [beyond] = [figure for name, figure in made.items() if "in Redis beyond" in name]
    assert 100 < beyond.median < 1024
    assert made["40 questions, 10 distinct, Zipf 1.1: found"].median > 50


async def test_growth(running: Installation) -> None:
    load = scale.Load(
        chunks=300, few_chunks=100, portfolios=4, few_portfolios=2, messages=6, few_messages=2,
        answers=60, asked_answers=2, questions=10,
    )  # fmt: skip
    made = await scale.bench_scale(running, lambda _: None, 1, load)
    assert [figure.limit for figure in made if "growth" in figure.name] == [1.1, 1.05, 1.2, 1.5]
    assert made[1].name == "first token with 4 portfolios: p50" and made[1].median > 0
    assert made[-1].values == [0]


async def test_what_suits_the_machine_is_found_on_the_same_installation(
    running: Installation,
) -> None:
    found: list[Finding] = []
    lines: list[str] = []
    load = Load(clients=2, questions=4, warm=2, turns=1, pools=(2,))
    wrong = running.wrong
    await tune_search(running, Patience(600), lines.append, found.append)
    await tune_service(running, 1, Patience(600), lines.append, found.append, load)
    values = {each.name: each.value for each in found}
    assert values == {"hnsw_ef_search": 20, "workers": 1, "pool_size": 2}
    assert len(lines) == 6
    assert running.wrong == wrong and set(running.programs) == {OURS, THEIRS}
    await tune_search(running, Patience(0), lines.append, found.append)
    await tune_service(running, 1, Patience(0), lines.append, found.append, load)
    assert len(found) == 3


async def test_what_there_was_no_time_to_compare_is_not_found(running: Installation) -> None:
    found: list[Finding] = []
    lines: list[str] = []
    load = Load(clients=2, questions=4, warm=2, turns=1, pools=(2, 3))
    seconds = count()  # one passes whenever somebody looks
    patience = Patience(EACH_SECONDS + 2, lambda: next(seconds))
    await tune_service(running, 1, patience, lines.append, found.append, load)
    assert [line.partition(":")[0] for line in lines] == ["  1 workers", "  pools of 2 connections"]
    assert [each.name for each in found] == ["workers"]
