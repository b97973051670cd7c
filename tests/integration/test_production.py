"""Production as processes of their own, on a Postgres and a Valkey that ask for passwords."""

import asyncio
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
import pytest
from redis.asyncio import Redis

from app.embedded.home import open_home
from app.embedded.postgres import APP, OWNER, SUPERUSER, Postgres, url
from app.embedded.valkey import Valkey
from app.production.servers import complaints_of_servers
from app.settings import Settings
from tests.support.command import environment, output_of, running
from tests.support.encoder import encoder_process
from tests.support.forking import Output

KMS = "q3Vb0mW8s9dXyR2kTt1uJ7cZ4nLhF6gEaPoQiBvNxMs="
PASSWORDS = {
    APP: "9c1e4f0a7b2d8356e1",
    OWNER: "5d80c2b97f3e6a14b7",
    SUPERUSER: "c77f0e1ab2d9483516",
}
REDIS_PASSWORD = "e7a3915c0d4f28b66a"
REFUSED = "Production does not start like this:"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
async def postgres(server_folder: Path) -> AsyncIterator[Postgres]:
    """A server that lets nobody in without a password."""
    folder = server_folder / "production"
    folder.mkdir(mode=0o711)
    postgres = Postgres(open_home(folder), folder)
    await postgres.start(lambda _: None)
    try:
        connection = await asyncpg.connect(url(SUPERUSER, postgres.sockets, "postgres"))
        for role, password in PASSWORDS.items():
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
        (postgres.cluster / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        yield postgres
    finally:
        postgres.stop()


@asynccontextmanager
async def listening(folder: Path, password: str = "") -> AsyncIterator[str]:
    """The host and port of a Valkey, which asks for the password where there is one."""
    folder.mkdir(mode=0o711)
    valkey, port = Valkey(open_home(folder), folder), free_port()
    await valkey.start()
    try:
        client = Redis.from_url(valkey.url)
        await client.config_set("requirepass", password)
        await client.aclose()
        client = Redis.from_url(f"{valkey.url}?password={password}" if password else valkey.url)
        await client.config_set("port", port)
        await client.aclose()
        yield f"127.0.0.1:{port}"
    finally:
        valkey.stop()


@pytest.fixture(scope="module")
async def valkey(server_folder: Path) -> AsyncIterator[str]:
    """A server that asks for a password."""
    async with listening(server_folder / "production-cache", REDIS_PASSWORD) as address:
        yield address


@pytest.fixture(scope="module")
async def open_valkey(server_folder: Path) -> AsyncIterator[str]:
    """A server that asks nobody for anything."""
    async with listening(server_folder / "open-cache") as address:
        yield address


@pytest.fixture(scope="module")
def connect(postgres: Postgres) -> "dict[str, str]":
    """By role, its address with its password."""
    return {
        role: url(role, postgres.sockets).replace(f"{role}@", f"{role}:{password}@")
        for role, password in PASSWORDS.items()
    }


@pytest.fixture(scope="module")
async def right(
    connect: dict[str, str], valkey: str, server_folder: Path, onnx: tuple[str, ...]
) -> AsyncIterator[dict[str, str]]:
    """The environment of a deployment that is fit, with its database migrated."""
    async with encoder_process(*onnx) as (_, encoder):
        variables = environment(
            server_folder / "production-data",
            CITESTREAM_ENVIRONMENT="production",
            DATABASE_URL=connect[APP],
            REDIS_URL=f"redis://:{REDIS_PASSWORD}@{valkey}/0",
            AGENT_KMS_KEY=KMS,
            CITESTREAM_AUTH__SECRET="f1b7c9d3a5e80246f1b7c9d3a5e80246aa",
            CITESTREAM_ENCODER__URL=encoder,
            PORT="0",
        )
        # As a container has it that migrates: without what only the service needs.
        migrating = {**variables, "DATABASE_OWNER_URL": connect[OWNER]}
        for name in ("REDIS_URL", "AGENT_KMS_KEY", "CITESTREAM_AUTH__SECRET"):
            del migrating[name]
        status, printed = await output_of("migrate", env=migrating)
        assert status == 0, printed
        yield variables


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_right_configuration_serves_and_knows_nobody_without_a_key(
    right: dict[str, str], forked: Output, server_folder: Path, workers: str
) -> None:
    status, key = await forked("key", "--tenant", "default", env=right)
    assert status == 0, key
    ours = {name: value for name, value in right.items() if name != "CITESTREAM_DATA"}
    async with running(server_folder / "d", "serve", "--workers", workers, **ours) as service:
        assert "curl" not in service.lines[-1]
        async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
            anonymous = await http.get("/api/agents")
            keyed = await http.get(
                "/api/agents", headers={"Authorization": f"Bearer {key.strip()}"}
            )
            ready = await http.get("/readyz")
        assert anonymous.status_code == 401, "not even from this machine"
        assert [agent["name"] for agent in keyed.json()["items"]] == ["default"]
        assert ready.json()["dependencies"]["redis"] == "ok"


async def test_check_finds_nothing_there(right: dict[str, str]) -> None:
    status, printed = await output_of("check", env=right)
    assert (status, printed.strip()) == (0, "Nothing stands against production.")


async def test_the_servers_are_asked_themselves(
    right: dict[str, str], connect: dict[str, str], forked: Output, open_valkey: str
) -> None:
    """A password in an address says nothing of a server that takes any; a role is what it is."""
    redis = f"redis://:{REDIS_PASSWORD}@{open_valkey}"
    for role in (OWNER, SUPERUSER):
        wrong = {**right, "DATABASE_URL": connect[role], "REDIS_URL": redis}
        status, printed = await forked("check", env={**wrong, "CITESTREAM_ENVIRONMENT": ""})
        assert status == 1
        by_role, by_redis = printed.strip().splitlines()
        assert by_role.startswith(f"- DATABASE_URL connects as {role}, which can read past row")
        assert by_redis.startswith("- The Redis of REDIS_URL answers without a password; set")
        assert not [each for each in (*PASSWORDS.values(), REDIS_PASSWORD) if each in printed]


async def test_of_a_cluster_every_server_is_asked(valkey: str, open_valkey: str) -> None:
    for hosts, told in ((f"{valkey},{open_valkey}", 1), (f"127.0.0.1:{free_port()},{valkey}", 0)):
        settings = Settings(redis_url=f"redis+cluster://:{REDIS_PASSWORD}@{hosts}")
        assert len(await complaints_of_servers(settings)) == told


async def test_one_that_is_away_is_not_judged(right: dict[str, str], forked: Output) -> None:
    away = {**right, "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{free_port()}"}
    assert (await forked("check", env=away))[0] == 0
    away["DATABASE_URL"] = right["DATABASE_URL"].replace(PASSWORDS[APP], "0f1e2d3c4b5a69788796a5b4")
    assert (await forked("check", env=away))[0] == 0


@pytest.mark.parametrize("arguments", [("serve",), ("serve", "--workers", "2"), ("run",)])
async def test_it_refuses_before_it_listens(
    right: dict[str, str], connect: dict[str, str], forked: Output, arguments: tuple[str, ...]
) -> None:
    wrong = {**right, "DATABASE_URL": connect[OWNER], "CITESTREAM_LOG_LEVEL": "debug"}
    del wrong["AGENT_KMS_KEY"]
    with socket.socket() as taken:  # what it would say first, if it listened first
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wrong["PORT"] = str(taken.getsockname()[1])
        status, printed = await forked(*arguments, env=wrong)
    assert status == 1
    said = printed.strip().splitlines()
    assert said[0].endswith(f"citestream: {REFUSED}")
    assert [line.split()[1] for line in said[1:]] == [
        "AGENT_KMS_KEY",
        "CITESTREAM_LOG_LEVEL",
        "DATABASE_URL",
    ]


async def test_the_asgi_application_refuses_too(right: dict[str, str]) -> None:
    serving = ("-m", "uvicorn", "--factory", "app.asgi:create", "--port", str(free_port()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *serving, env={**right, "CITESTREAM_CORS_ORIGINS": "*"},
        stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    assert process.returncode != 0
    assert b"CITESTREAM_CORS_ORIGINS lets every site in" in printed
    assert b"Uvicorn running" not in printed


@pytest.mark.parametrize("name", ["migrate", "index"])
async def test_what_does_not_serve_refuses_a_weak_password(
    right: dict[str, str], connect: dict[str, str], forked: Output, name: str
) -> None:
    weak = connect[OWNER].replace(PASSWORDS[OWNER], "changeme")
    status, printed = await forked(name, env={**right, "DATABASE_OWNER_URL": weak})
    assert status == 1
    assert "The password in DATABASE_OWNER_URL is a value that others know" in printed
    assert "changeme" not in printed
