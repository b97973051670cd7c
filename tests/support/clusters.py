"""A cluster of three masters of Valkey, real processes, whose slots can be moved."""

import asyncio
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.support.sentinels import free_ports, program
from tests.support.waiting import until

PASSWORD = "of-the-cluster"
SLOTS = 16384
# Without full coverage, so that the servers that are left go on with the slots that they have.
SERVER = """
bind 127.0.0.1
port {port}
cluster-port {bus}
dir {folder}
save ""
appendonly no
repl-diskless-sync-delay 0
requirepass {password}
masterauth {password}
cluster-enabled yes
cluster-node-timeout 500
cluster-require-full-coverage no
"""


class Cluster:
    """The masters by their ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masters = free_ports(3)
        self.ids: dict[int, str] = {}
        self._processes: dict[int, Process] = {}

    @property
    def url(self) -> str:
        """With one place first where nobody is, and not all of those where somebody is."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in (*free_ports(1), *self.masters[:2]))
        return f"redis+cluster://:{PASSWORD}@{hosts}"

    def place(self, port: int) -> str:
        return f"127.0.0.1:{port}"

    def server(self, port: int) -> Redis:
        """Somebody's own way to one of them."""
        return Redis(port=port, password=PASSWORD, decode_responses=True)

    async def start(self) -> None:
        await asyncio.gather(*(self.run(port) for port in self.masters))
        bounds = [SLOTS * number // len(self.masters) for number in range(len(self.masters) + 1)]
        for number, port in enumerate(self.masters):
            await self.ask(port, "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            await self.ask(port, "SET-CONFIG-EPOCH", number + 1)
        for port in self.masters[1:]:
            await self.ask(self.masters[0], "MEET", "127.0.0.1", port, self.bus(port))
        await until(self.is_whole)

    def bus(self, port: int) -> int:
        return int((self.folder / str(port) / "bus").read_text())

    async def run(self, port: int) -> None:
        """Start one, for the first time or again, and wait until it answers."""
        folder = self.folder / str(port)
        if not folder.exists():
            folder.mkdir()
            [bus] = free_ports(1)
            (folder / "bus").write_text(str(bus))
            (folder / "configuration").write_text(
                SERVER.format(port=port, bus=bus, folder=folder, password=PASSWORD)
            )
        self._processes[port] = await asyncio.create_subprocess_exec(
            program(), str(folder / "configuration"), stdout=DEVNULL, stderr=DEVNULL
        )
        await until(lambda: self._answers(port))
        self.ids[port] = await self.ask(port, "MYID")

    async def kill(self, port: int) -> None:
        self._processes[port].kill()
        await self._processes[port].wait()

    def signal(self, port: int, what: signal.Signals) -> None:
        self._processes[port].send_signal(what)

    async def add_replica(self, of: int) -> int:
        """One that takes over where that is lost; its port."""
        [port] = free_ports(1)
        await self.run(port)
        await self.ask(of, "MEET", "127.0.0.1", port, self.bus(port))

        async def knows() -> bool:
            return self.ids[of] in str(await self.ask(port, "NODES"))

        await until(knows)
        await self.ask(port, "REPLICATE", self.ids[of])

        async def is_online() -> bool:
            async with self.server(of) as server:
                state = await server.info("replication")
                return bool(state.get("slave0", {}).get("state") == "online")

        await until(is_online)
        return port

    def owner(self, key: str) -> int:
        """Of the slot, before any was moved."""
        slot = key_slot(key.encode())
        return self.masters[slot * len(self.masters) // SLOTS]

    async def begin_move(self, key: str, source: int, target: int) -> None:
        slot = key_slot(key.encode())
        await self.ask(target, "SETSLOT", slot, "IMPORTING", self.ids[source])
        await self.ask(source, "SETSLOT", slot, "MIGRATING", self.ids[target])

    async def move_keys(self, key: str, source: int, target: int, count: int) -> int:
        """So many at most of the slot's; how many there were."""
        async with self.server(source) as server:
            slot = key_slot(key.encode())
            keys = await server.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
            if keys:
                where = ("127.0.0.1", target, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys)
                await server.execute_command("MIGRATE", *where)
            return len(keys)

    async def end_move(self, key: str, source: int, target: int) -> None:
        """All the rest, and say so to both; the third learns it by and by."""
        while await self.move_keys(key, source, target, 100):
            pass
        for port in (target, source):
            await self.ask(port, "SETSLOT", key_slot(key.encode()), "NODE", self.ids[target])

    async def move(self, key: str, source: int, target: int) -> None:
        await self.begin_move(key, source, target)
        await self.end_move(key, source, target)

    async def ask(self, port: int, *command: str | int) -> str:
        async with self.server(port) as server:
            return str(await server.execute_command("CLUSTER", *command))

    async def is_whole(self) -> bool:
        """Whether all masters say that all of them are there."""
        for port in self.masters:
            async with self.server(port) as server:
                state = await server.execute_command("CLUSTER", "INFO")
                state = (
                    state
                    if isinstance(state, dict)
                    else dict(line.split(":") for line in str(state).splitlines() if ":" in line)
                )
                known = (state["cluster_state"], state["cluster_slots_ok"], state["cluster_size"])
                if known != ("ok", str(SLOTS), str(len(self.masters))):
                    return False
        return True

    async def _answers(self, port: int) -> bool:
        try:
            async with self.server(port) as server:
                return bool(await server.ping())
        except (RedisError, OSError):
            return False

    async def end(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def clustered() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Cluster(folder)
        stack.push_async_callback(cluster.end)
        await cluster.start()
        yield cluster
