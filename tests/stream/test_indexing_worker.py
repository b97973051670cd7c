"""`citestream worker`: processes for indexing alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.bootstrap import Settings, migrate
from app.embedded import Servers
from tests.support.command import ended, running
from tests.support.live import live_service
from tests.support.waiting import until


def note(title: str) -> dict[str, Any]:
    return {"documents": [{"title": title, "text": f"{title} says that quokkas smile."}]}


async def test_it_indexes_what_the_api_leaves_to_it(
    connections: dict[str, Any], fresh_database: Callable[[], Awaitable[Servers]]
) -> None:
    database = await fresh_database()  # nothing else may index here
    alone = connections | {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
    }
    await migrate(Settings(**alone))
    variables = {
        "DATABASE_URL": alone["database_url"],
        "REDIS_URL": alone["redis_url"],
        "CITESTREAM_ENCODER__URL": alone["encoder"]["url"],
        "CITESTREAM_INGEST__HERE": "false",  # as all of a deployment's have it
    }
    async with live_service(**alone, ingest={"here": False}) as api:
        documents = f"/api/portfolios/{await api.portfolio('left to others')}/documents"
        [early] = (await api.json("POST", documents, 202, json=note("Early")))["ids"]
        waiting = asyncio.create_task(
            api.json("POST", f"{documents}?wait=true", 200, json=note("Late"))
        )

        async def indexed() -> int:
            listed = (await api.json("GET", documents))["items"]
            return sum(item["status"] == "indexed" for item in listed)

        async def both_are_there() -> bool:
            return len((await api.json("GET", documents))["items"]) == 2

        await until(both_are_there)
        assert await indexed() == 0 and not waiting.done()
        async with running(alone["data"], "worker", **variables) as worker:
            await asyncio.wait_for(waiting, 60)

            async def all_are() -> bool:
                return await indexed() == 2

            await until(all_are)
            worker.process.terminate()
            assert await ended(worker.process) == 0
        assert (await api.json("GET", f"/api/documents/{early}"))["chunk_count"] == 1
        assert worker.lines == ["Citestream's worker is ready: it indexes what is uploaded."]
