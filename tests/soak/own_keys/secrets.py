"""Secrets of every kind, planted in a replica of their own and looked for in all that it tells."""

from typing import Any

import httpx2

from tests.soak.deployment import Deployment
from tests.soak.processes import complete, stop
from tests.soak.row import Stage
from tests.support.canaries import Canaries, Told, provoke
from tests.support.collector import Collector
from tests.support.vendors import Script, VendorServer


async def plant(stage: Stage, running: Deployment, **variables: Any) -> tuple[int, int]:
    """How many there were, and how many of them were told somewhere."""
    secrets, told = Canaries(), Told()
    with Collector() as collector:
        async with VendorServer() as good, VendorServer() as bad:
            good.script = Script(tokens=["It is ", secrets.answer, " [1]."])
            bad.script = Script(status=401)
            given = {
                **secrets.variables(),
                **variables,
                "OPENAI_BASE_URL": bad.openai_url,
                "MISTRAL_SERVER_URL": bad.mistral_url,
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "CITESTREAM_SLOW_ANSWER_SECONDS": "0",
            }
            made = {**running.variables, **given}
            printed = await complete(stage, "key", "key", "--tenant", "secrets", **made)
            key = printed.split()[-1]
            replica = await running.start_replica(**given)
            async with httpx2.AsyncClient(
                base_url=replica.url, timeout=60, trust_env=False
            ) as http:
                await provoke(http, key, good.openai_url, secrets, told)
            await stop(replica.process)  # its last traces are sent
    for log in stage.folder.glob("*.log"):
        told.add(log.name, log.read_text())
    for raw in collector.raw:
        told.add("traces", raw)
    [kept] = await running.behind("SELECT string_agg(a::text, E'\\n') AS all FROM audit_log a")
    told.add("audit log", kept["all"])
    found = secrets.found(told)
    for name, place in found[:20]:
        stage.note(f"{name} is told in {place}.")
    return len(list(secrets.named())), len(found)
