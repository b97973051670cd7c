"""Secrets planted everywhere, looked for everywhere: none is told to anyone but its owner.

Once in this process, where not even the log knows what it would have to take out, and where a
defect raises all of them at once; once as an operator runs it.
"""

import asyncio
import os
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from redis.asyncio import Redis

from app.telemetry.tracing import open_tracing
from tests.support.canaries import Canaries, Told, provoke, with_password
from tests.support.collector import Collector
from tests.support.command import START_SECONDS, command, ended, environment, output_of
from tests.support.live import live_service
from tests.support.logged import logged
from tests.support.vendors import Script, VendorServer

REDIS_USER = "canary"


@asynccontextmanager
async def vendors(secrets: Canaries) -> AsyncIterator[tuple[VendorServer, VendorServer]]:
    """One that answers, and one whose errors echo the key and the question they came with."""
    async with VendorServer() as good, VendorServer() as bad:
        good.script = Script(tokens=["It is ", secrets.answer, " [1]."])
        bad.script = Script(status=401)
        yield good, bad


@asynccontextmanager
async def redis_user(url: str, password: str) -> AsyncIterator[str]:
    """An address of the suite's Valkey that needs the password."""
    redis = Redis.from_url(url)
    try:
        await redis.acl_setuser(
            REDIS_USER, enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"],
            commands=["+@all"],
        )  # fmt: skip
        yield with_password(url, password, REDIS_USER)
        await redis.acl_deluser(REDIS_USER)
    finally:
        await redis.aclose()


async def kept(owner_url: str) -> str:
    """Every row of every tenant's audit log."""
    connection = await asyncpg.connect(owner_url)
    try:
        rows = await connection.fetch("SELECT a::text AS entry FROM audit_log a")
    finally:
        await connection.close()
    assert len(rows) > 10
    return "\n".join(row["entry"] for row in rows)


def configured(connections: dict[str, Any], secrets: Canaries, bad: VendorServer) -> dict[str, Any]:
    return {
        **connections,
        "database_url": with_password(connections["database_url"], secrets.database_password),
        "database_owner_url": with_password(
            connections["database_owner_url"], secrets.owner_password
        ),
        "openai_api_key": secrets.openai_key,
        "openai_base_url": bad.openai_url,
        "mistral_api_key": secrets.mistral_key,
        "mistral_server_url": bad.mistral_url,
        "encoder": {**connections["encoder"], "api_key": secrets.encoder_key},
        "reranker": {"url": bad.url, "api_key": secrets.reranker_key},
        "kms_keys": f"{secrets.kms_key},{secrets.former_kms_key}",
        "auth": {"secret": secrets.token_secret},
        "allow_private_hosts": "127.0.0.1",
        "log_level": "debug",
        "slow_answer_seconds": 0,
    }


async def test_the_service_tells_nobody_what_is_secret(
    connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets, told = Canaries(), Told()
    with Collector() as collector, logged("debug") as log:
        async with (
            vendors(secrets) as (good, bad),
            redis_user(connections["redis_url"], secrets.redis_password) as redis_url,
        ):
            settings = {**configured(connections, secrets, bad), "redis_url": redis_url}
            tracing = open_tracing(collector.url)
            async with live_service(**settings, tracing=tracing) as live:
                key = await live.services.credentials.create("secrets", "test")
                await provoke(live.http, key, good.openai_url, secrets, told)

                async def broken(*_: Any) -> None:
                    raise ValueError(" ".join(value for _, value in secrets.named()))

                monkeypatch.setattr(live.services.history, "list", broken)
                owner = {"Authorization": f"Bearer {key}"}
                failed = await live.http.get("/api/conversations", headers=owner)
                assert failed.status_code == 500
                told.add_refusal(failed)
            await tracing.aclose()
            assert any(secrets.mistral_key in str(each.headers) for each in bad.requests)
            assert any(secrets.agent_key in str(each.headers) for each in good.requests)
    assert "unhandled error" in log.getvalue() and "ValueError" in log.getvalue()
    told.add("log", log.getvalue())
    assert collector.spans
    for raw in collector.raw:
        told.add("traces", raw)
    told.add("audit log", await kept(connections["database_owner_url"]))
    assert secrets.found(told) == []
    assert len(list(secrets.named())) >= 29  # 25 that are planted, and what it made of them


@asynccontextmanager
async def serving(log: Path, variables: dict[str, str]) -> AsyncIterator[str]:
    """`citestream serve` as an operator starts it; its address."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command("serve"), env=variables, stdin=DEVNULL, stdout=PIPE, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            lines = []
            async for line in process.stdout:
                lines.append(line.decode())
                if "is ready" in lines[-1]:
                    break
        found = re.search(r"http://\S+?(?=[\s,;]|\.?$)", lines[-1]) if lines else None
        assert found, log.read_text()
        yield found[0].rstrip("/.")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        await ended(process)


async def test_a_process_tells_nobody_what_is_secret(
    connections: dict[str, Any], tmp_path: Path
) -> None:
    """Its Redis refuses the password, which is told in errors."""
    secrets, told, log = Canaries(), Told(), tmp_path / "log"
    with Collector() as collector:
        async with vendors(secrets) as (good, bad):
            settings = configured(connections, secrets, bad)
            variables = environment(
                tmp_path,
                **secrets.variables(),
                PORT="0",
                DATABASE_URL=settings["database_url"],
                DATABASE_OWNER_URL=settings["database_owner_url"],
                REDIS_URL=with_password(connections["redis_url"], secrets.redis_password, "nobody"),
                OPENAI_BASE_URL=bad.openai_url,
                MISTRAL_SERVER_URL=bad.mistral_url,
                CITESTREAM_ENCODER__URL=connections["encoder"]["url"],
                CITESTREAM_RERANKER__URL=bad.url,
                CITESTREAM_LOG_LEVEL="debug",
                CITESTREAM_SLOW_ANSWER_SECONDS="0",
                ALLOW_PRIVATE_HOSTS="127.0.0.1",
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            )
            status, printed = await output_of("key", "--tenant", "secrets", env=variables)
            assert status == 0, printed
            key = printed.split()[-1]
            async with (
                serving(log, variables) as url,
                httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http,
            ):
                await provoke(http, key, good.openai_url, secrets, told)
    assert "redis" in log.read_text()
    told.add("log", log.read_text())
    told.add("printed", printed.replace(key, ""))
    for raw in collector.raw:
        told.add("traces", raw)
    told.add("audit log", await kept(connections["database_owner_url"]))
    assert secrets.found(told) == []
