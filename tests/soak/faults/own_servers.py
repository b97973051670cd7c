"""`citestream run`, which starts its stores itself, loses its Postgres."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from tests.soak.deployment import Deployment
from tests.soak.faults.steady import tell
from tests.soak.processes import START_SECONDS, Service, launch, stop
from tests.soak.row import Stage
from tests.soak.starting import Process
from tests.support.waiting import until

LOOK_SECONDS = 0.02
LATEST_SECONDS = 60.0


async def back_by_itself(stage: Stage, beside: Deployment) -> float:
    """Kill it with SIGKILL; after how many seconds a question is answered again. Encoder and
    model's server are those of the deployment."""
    stores = ("DATABASE_URL", "REDIS_URL")
    variables = {name: value for name, value in beside.variables.items() if name not in stores}
    variables["CITESTREAM_DATA"] = str(stage.folder / "own")
    async with _own(stage, variables) as own:
        [agent] = (await beside.http.get(f"{own.url}/api/agents")).json()["items"]
        path = f"{own.url}/api/agents/{agent['id']}/chat"

        async def good() -> bool:
            message = {"message": "Who finished Atlas?", "cache": "off"}
            return (await tell(beside.http, "", "POST", path, json=message)).good

        if not await good():
            raise RuntimeError("It does not answer before either.")
        stage.say("The Postgres of `citestream run` is killed")
        _postgres_of(own.process.pid).kill()
        killed = time.monotonic()
        await until(good, seconds=LATEST_SECONDS, pause=LOOK_SECONDS)
        return time.monotonic() - killed


@asynccontextmanager
async def _own(stage: Stage, variables: dict[str, str]) -> AsyncIterator[Service]:
    process = await launch(stage, "run", "run", **variables)
    try:
        async with asyncio.timeout(START_SECONDS):
            url = await _ready(process)
        yield Service(url, process)
    finally:
        await stop(process)


async def _ready(process: Process) -> str:
    """Its address, once it says that it is ready."""
    assert process.stdout is not None
    async for line in process.stdout:
        if found := re.search(r"is ready: (\S+)", line.decode()):
            return found[1]
    raise RuntimeError("`citestream run` did not start; see run.log")


def _postgres_of(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children()
    return next(each for each in children if each.name() == "postgres")
