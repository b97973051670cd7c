"""`citestream reencode` as an operator types it, killed in the middle and run again."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.bootstrap import Settings, build_services, migrate
from app.embedded import Servers
from app.ingest.ports import NewDocument
from app.settings.sections import NextEncoderSettings
from tests.support.command import command, environment, output_of
from tests.support.encoder import Handler, Reply, scripted_server
from tests.support.forking import Output
from tests.support.reencoding import DenseEncoder


class Served:
    """An encoder behind HTTP that holds its answers back while `gate` is closed."""

    def __init__(self, name: str, dimension: int) -> None:
        self.encoder = DenseEncoder(name, dimension)
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()

    def handler(self) -> Handler:
        async def handle(path: str, body: dict[str, Any]) -> Reply:
            if path != "/v1/embeddings":
                return (200 if path == "/v1/models" else 404), {}, {}
            texts = body["input"]
            if texts != ["dimension"]:
                self.calls += 1
                if self.calls == 2:
                    self.called.set()
                    await self.gate.wait()
            vectors = await self.encoder.embed_documents(texts)
            data = [{"index": n, "embedding": list(each)} for n, each in enumerate(vectors)]
            return 200, {"data": data}, {}

        return handle


async def test_killed_and_run_again_then_nothing_is_left_to_do(
    fresh_database: Callable[[], Awaitable[Servers]], forked: Output, tmp_path: Path
) -> None:
    fresh = await fresh_database()
    old, new = Served("old-model", 48), Served("new-model", 32)
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(scripted_server(each.handler())) for each in (old, new)
        ]
        settings = Settings(
            database_url=fresh.app_url,
            database_owner_url=fresh.owner_url,
            encoder={"url": urls[0], "model": "old-model"},
        )
        await migrate(settings)
        async with build_services(settings) as services:
            scope = await services.credentials.default_scope()
            portfolio = await services.portfolios.create(scope, {"name": uuid4().hex})
            documents = [NewDocument(f"t{n}", f"text {n}") for n in range(20)]
            accepted = await services.ingestor.accept(scope, portfolio.id, documents)
            await services.ingestor.index([each.upload_id for each in accepted if each.upload_id])

        variables = environment(
            tmp_path,
            DATABASE_URL=fresh.app_url,
            DATABASE_OWNER_URL=fresh.owner_url,
            CITESTREAM_ENCODER__URL=urls[0],
            CITESTREAM_ENCODER__MODEL="old-model",
            CITESTREAM_NEXT_ENCODER__URL=urls[1],
            CITESTREAM_NEXT_ENCODER__MODEL="new-model",
        )
        new.gate.clear()
        process = await asyncio.create_subprocess_exec(
            *command("reencode", "--batch", "4"), env=variables,
            stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        await new.called.wait()
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        new.gate.set()

        status, printed = await output_of("reencode", env=variables)
        assert status == 0, printed
        # The empty one of the first start came first, and is switched already.
        assert "1 portfolio switched to new-model" in printed
        assert "20 old ones dropped" in printed
        assert {text for text in new.encoder.texts if text != "dimension"} == {
            f"t{n}\ntext {n}" for n in range(20)
        }
        status, printed = await forked("reencode", "--portfolio", portfolio.name, env=variables)
        assert status == 0, printed
        assert "Nothing to do: new-model serves already" in printed
        status, printed = await forked("reencode", "--portfolio", "none", env=variables)
        assert (status, "There is no portfolio “none”." in printed) == (1, True)

        both = NextEncoderSettings(url=urls[1], model="new-model")
        configured = settings.model_copy(update={"next_encoder": both})
        async with build_services(configured) as services:
            assert (await services.portfolios.get(scope, portfolio.id)).version == 22
            made = await services.portfolios.create(scope, {"name": uuid4().hex})
            [added] = await services.ingestor.accept(scope, made.id, [NewDocument("t", "new")])
            await services.ingestor.index([added.upload_id or 0])
            assert (await services.documents.get(scope, added.document_id)).status == "indexed"
            assert new.encoder.texts[-1] == "t\nnew"
            assert (await services.readiness())["encoder"] == "ok"
