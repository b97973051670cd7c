"""Requests made by schemathesis from the service's own description of itself, valid and not."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.deployment import Deployment, deployment
from tests.soak.processes import complete
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.unhurried import UNHURRIED

PHASES = "coverage,fuzzing,stateful"
# About how many requests a further example of each operation comes to, and what the other two
# phases send whatever is asked for.
A_ROUND, AT_LEAST = 31, 1_500
# A schema cannot say that a cursor is one that was given out, that an id is somebody's, that a time
# is to come, or that a file is a text. So a refusal of what it allows is no failure where it says
# what is wrong; `negative_data_rejection` stays strict. Lists of exactly a thousand documents, a
# dozen times and waited for, would be most of the row's time.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 413, 415, 422, 429, 503]

[[operations]]
include-name = "POST /api/portfolios/{portfolio_id}/documents"
phases.coverage.enabled = false
"""
REQUEST_SECONDS = 180
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Scale:
    requests: int = 10_000

    @property
    def examples(self) -> int:
        """Of each operation."""
        return max(1, (self.requests - AT_LEAST) // A_ROUND)


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    scale = Scale(max(1, round(Scale().requests * min(1.0, stage.seconds / ROW.seconds))))
    async with deployment(stage, replicas=1, **UNHURRIED) as running:
        async for figure in scenario(stage, running, scale.examples):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, examples: int, phases: str = PHASES
) -> AsyncIterator[tuple[str, float]]:
    """As an owner with a key; `ignored_auth` sees to it that nothing is said without one."""
    portfolio = await running.portfolio(Atlas="The Atlas dashboard was built by Ana Ruiz.")
    await running.agent(portfolio, provider="extractive")
    variables = {name: value for name, value in running.variables.items() if name != "PORT"}
    key = (await complete(stage, "key", "key", **variables)).split()[-1]
    report = stage.folder / "schemathesis.ndjson"
    (stage.folder / "schemathesis.toml").write_text(CONFIGURATION)
    process = await schemathesis(stage, running.urls[0], key, examples, phases, report)
    status = await process.wait()
    counts = await asyncio.to_thread(counted, stage, report)
    for name in (SENT, *WRONG):
        yield name, counts[name]
    yield "exit status", status
    # Every portfolio may have been deleted, as was asked.
    await running.portfolio()
    alive = await running.json("GET", "/api/portfolios")
    yield "portfolios listed afterwards", len(alive["items"])


async def schemathesis(
    stage: Stage, url: str, key: str, examples: int, phases: str, report: Path
) -> Process:
    """All checks. A forwarded request is nobody's without its key, also on a loopback address."""
    with (stage.folder / "schemathesis.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--checks", "all", "--phases", phases, "--max-examples", str(examples)),
            *("--generation-allow-x00", "true", "--generation-database", "none"),
            *("--seed", str(stage.chance.randrange(2**31)), "--no-shrink"),
            *("--continue-on-failure", "--request-timeout", str(REQUEST_SECONDS)),
            *("--max-response-time", str(REQUEST_SECONDS), "--suppress-health-check", "all"),
            *("--header", f"Authorization: Bearer {key}"),
            *("--header", "X-Forwarded-For: 127.0.0.1"),
            *("--report", "ndjson", "--report-ndjson-path", str(report), "--no-color"),
            cwd=stage.folder,
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )


def counted(stage: Stage, report: Path) -> Counter[str]:
    """The figures of a report."""
    counts: Counter[str] = Counter()
    with report.open("rb") as lines:
        for line in lines:
            count(stage, counts, json.loads(line))
    return counts


def count(stage: Stage, counts: Counter[str], event: Mapping[str, Any]) -> None:
    """Take one event of the report in: a scenario with all that was sent in it, or an error."""
    if "NonFatalError" in event:
        counts[UNANSWERED] += 1
        stage.note(f"{event['NonFatalError'].get('label')}: {str(event)[:300]}")
    recorder = event.get("ScenarioFinished", {}).get("recorder")
    if not recorder:
        return
    for interaction in recorder.get("interactions", {}).values():
        counts[SENT] += 1
        status = (interaction.get("response") or {}).get("status_code", 0)
        counts[SERVER_ERRORS] += status >= 500
        counts[UNANSWERED] += status == 0
    for each in (check for checks in recorder.get("checks", {}).values() for check in checks):
        if each["status"] == "failure":
            counts[FAILED] += 1
            if counts[FAILED] <= SHOWN:
                stage.note(f"{recorder['label']}: {str(each)[:300]}")


SENT = "requests"
SERVER_ERRORS = "answers of 5xx"
FAILED = "failed checks"
UNANSWERED = "requests without an answer"
WRONG = (SERVER_ERRORS, FAILED, UNANSWERED)
LIMITS = {
    SENT: at_least(100),
    **{each: at_most(0) for each in WRONG},
    "exit status": at_most(0),
    "portfolios listed afterwards": at_least(1),
}
ROW = Row(
    22,
    "Bad input gets an answer",
    LIMITS,
    ("requests", "answers of 5xx"),
    measure,
    seconds=1200.0,
)
