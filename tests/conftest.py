"""Real servers for the suite: one embedded Postgres and Valkey, one encoder when a test asks.

Nothing here skips: where a server does not start, the suite fails and says why.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import structlog

from app.embedded import Servers, embedded_servers
from app.embedded.encoder import Encoder, own_socket
from app.embedded.postgres import (
    DATABASE,
    EXTENSION_STATEMENT,
    OWNER,
    SUPERUSER,
    database_statements,
)
from tests.support.command import Running, running, with_models
from tests.support.forking import Forks, Output, forks

# Where it is set, as containers do, every process that a test starts compiles all of the service
# again, which is a third of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# To look for garbage among what stays until the end is half of the time that collecting takes.
gc.disable()


def pytest_collection_finish() -> None:
    """From now on there is garbage."""
    gc.freeze()
    gc.enable()


# As it is where nobody has set it up, a traceback shows what every variable holds, which takes
# seconds to print for the service with all that is in it.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A data folder that root's system user can reach too, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def servers(server_folder: Path) -> AsyncIterator[Servers]:
    """Postgres and Valkey, empty: the database `citestream` has its roles and the extension."""
    async with embedded_servers(server_folder / "data", encoder=None) as running:
        yield running


@pytest.fixture(scope="session")
async def encoder_url(server_folder: Path, onnx: tuple[str, ...]) -> AsyncIterator[str]:
    """The address of the real encoder service: a process of its own, on onnx, which starts in half
    a second where torch takes several."""
    logs = server_folder / "encoder"
    logs.mkdir(mode=0o700)
    command = [sys.executable, "-m", "app.cli", "encoder", *onnx]
    encoder = Encoder(own_socket(logs), logs / "encoder.log", command)
    try:
        await encoder.start()
        yield encoder.url
    finally:
        encoder.stop()


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where encoders of the session keep exported models: the first takes some seconds for it.
    A service finds them with the parent folder as its data folder."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one folder for all processes that run the suite
        session = session.parent
    (session / "data").mkdir(exist_ok=True)
    return session / "data" / "models"


@pytest.fixture(scope="session")
def onnx(exports: Path) -> tuple[str, ...]:
    """Options of an encoder that starts in half a second, where its backend is no matter."""
    return ("--backend", "onnx", "--cache", str(exports))


@pytest.fixture(scope="session")
def superuser_url(servers: Servers) -> str:
    """For setting tests up only: what is tested connects as the owner or the app."""
    return servers.owner_url.replace(OWNER, SUPERUSER, 1)


@pytest.fixture(scope="session")
async def fresh_database(
    servers: Servers, superuser_url: str
) -> AsyncIterator[Callable[[], Awaitable[Servers]]]:
    """Make an empty database like the one of `servers`: `await fresh_database()` gives addresses
    of it. Dropped at the end of the session."""
    async with AsyncExitStack() as stack:

        async def make() -> Servers:
            return await stack.enter_async_context(_database(servers, superuser_url))

        yield make


@pytest.fixture(scope="session")
async def migrated(fresh_database: Callable[[], Awaitable[Servers]]) -> Servers:
    """Addresses of a database of the session at the newest schema; Valkey is the common one."""
    from app.stores.migrate import upgrade

    fresh = await fresh_database()
    await upgrade(fresh.owner_url)
    return fresh


@asynccontextmanager
async def _database(servers: Servers, superuser_url: str) -> AsyncIterator[Servers]:
    name = f"test_{uuid4().hex}"

    def of(url: str) -> str:
        return url.replace(f"/{DATABASE}?", f"/{name}?", 1)

    await _execute(superuser_url, *database_statements(name))
    try:
        await _execute(of(superuser_url), EXTENSION_STATEMENT)
        yield replace(servers, owner_url=of(servers.owner_url), app_url=of(servers.app_url))
    finally:
        await _execute(superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def running_service(server_folder: Path, exports: Path) -> AsyncIterator[Running]:
    """`citestream run` as a user starts it: a process of its own with the sample portfolio. The
    model is the session's: exported before, or now for all."""
    async with running(with_models(server_folder / "run", exports)) as service:
        if not exports.exists():
            copied = Path(tempfile.mkdtemp(dir=exports.parent)) / "models"
            shutil.copytree(service.data / "models", copied)
            with suppress(OSError):  # another process has it by now
                copied.rename(exports)
        yield service


@pytest.fixture(scope="session")
async def forking() -> AsyncIterator[Forks]:
    """Processes of commands that some other test starts as a user does."""
    async with forks() as running:
        yield running


@pytest.fixture(scope="session")
def forked(forking: Forks) -> Output:
    """`output_of` such a command."""
    return forking.output


@pytest.fixture(scope="session")
def live_server(running_service: Running) -> str:
    """The address of that service, without a slash at the end."""
    return running_service.url
