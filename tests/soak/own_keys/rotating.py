"""Master keys rotated there and back while keys are entered and used, now and then killed."""

import asyncio
import base64
import os
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from app.vault.keyring import parse_keys
from app.vault.sealing import Place, Vault
from tests.soak.own_keys.agents import Office
from tests.soak.own_keys.ears import Ear, new_key
from tests.soak.processes import kill, launch, stop

# A column that nobody has told the rotation of.
TOMORROW = (
    "CREATE TABLE of_tomorrow (id bigint PRIMARY KEY, tenant_id bigint NOT NULL, secret sealed)",
    "ALTER TABLE of_tomorrow OWNER TO citestream_owner",
    "INSERT INTO of_tomorrow SELECT 1, id, $1::bytea FROM tenants WHERE name = 'default'",
)
SEALED = "SELECT count(*) FILTER (WHERE substr({0}::bytea, 1, 9) <> $1) AS former FROM {1}"


@dataclass(frozen=True, slots=True)
class Masters:
    """The former key and the new one, as AGENT_KMS_KEY has them."""

    former: str
    new: str

    @classmethod
    def made(cls) -> "Masters":
        return cls(*(base64.b64encode(os.urandom(32)).decode() for _ in range(2)))

    def both(self, *, new_first: bool) -> str:
        return f"{self.new},{self.former}" if new_first else f"{self.former},{self.new}"


async def rotate(
    office: Office, home: Ear, masters: Masters, agents: int, clients: int, rotations: int
) -> None:
    """Under load, and once more behind it; then every key must be the last that was entered."""
    await _of_tomorrow(office, masters)
    expected = dict([await office.new(home) for _ in range(agents)])
    over = asyncio.Event()

    async def enter(share: list[int]) -> None:
        while not over.is_set():
            agent, key = office.chance.choice(share), new_key()
            await _compare(office, home, agent, expected[agent])
            if await office.change(agent, api_key=key):
                expected[agent] = key
                office.counts["keys entered while they were rotated"] += 1

    async def all_rotations() -> None:
        for number in range(rotations):
            await _rotate(office, masters, new_first=number % 2 == 0, killed=number % 3 == 2)
        over.set()

    shares = [list(expected)[number::clients] for number in range(clients)]
    async with asyncio.TaskGroup() as group:
        for share in shares:
            group.create_task(enter(share))
        group.create_task(all_rotations())
    await _rotate(office, masters, new_first=True, killed=False, whole=True)
    for agent, key in expected.items():
        await _compare(office, home, agent, key)
    await _look_behind(office, masters)


async def _compare(office: Office, home: Ear, agent: int, key: str) -> None:
    """What arrives of it now with what was entered last."""
    question = f"Whose is {uuid4()}?"
    if not await office.answered(agent, question):
        return
    heard = next(each for each in reversed(home.heard) if question in each.text)
    if heard.key != key:
        office.counts["keys lost"] += 1
    office.counts["keys compared"] += 1


async def _look_behind(office: Office, masters: Masters) -> None:
    prefix = Vault(parse_keys(masters.new)).newest_prefix()
    for column, table in (("api_key_sealed", "agents"), ("secret", "of_tomorrow")):
        [row] = await office.running.behind(SEALED.format(column, table), prefix)
        office.counts["values left under the former key"] += row["former"]
        office.counts["encrypted columns"] += 1


async def _rotate(
    office: Office, masters: Masters, *, new_first: bool, killed: bool, whole: bool = False
) -> None:
    """As an operator does; under load not to be settled is well, because a replica has either key
    first."""
    given = _variables(office, masters, new_first=new_first)
    process = await launch(office.stage, "rotate", "keys", "rotate", **given)
    try:
        if killed:
            with suppress(TimeoutError):
                async with asyncio.timeout(office.chance.uniform(2.0, 6.0)):
                    await process.wait()
            office.counts["rotations killed"] += process.returncode is None
            await kill(process)
            return
        printed, _ = await process.communicate()
        office.said.append(printed.decode())
        office.counts["rotations"] += 1
        well = (0,) if whole else (0, 1)
        if process.returncode not in well or b"cannot be decrypted" in printed:
            office.counts["rotations that failed"] += 1
            office.stage.note(
                f"A rotation ended with {process.returncode}: {printed.decode()[-300:]}"
            )
    finally:
        await stop(process)


def _variables(office: Office, masters: Masters, *, new_first: bool = True) -> dict[str, str]:
    return {
        "DATABASE_OWNER_URL": office.running.servers.owner_url,
        "AGENT_KMS_KEY": masters.both(new_first=new_first),
    }


async def _of_tomorrow(office: Office, masters: Masters) -> None:
    [tenant] = await office.running.behind("SELECT id FROM tenants WHERE name = 'default'")
    place = Place(tenant["id"], "of_tomorrow", 1, "secret")
    sealed = Vault(parse_keys(masters.former)).seal(b"of tomorrow", place)
    *made, insert = TOMORROW
    for statement in made:
        await office.running.behind(statement)
    await office.running.behind(insert, sealed)
