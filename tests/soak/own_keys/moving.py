"""Agents whose address is changed, in every way there is, to where their key must not go."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.soak.own_keys.agents import Office, side_by_side
from tests.soak.own_keys.ears import Ear

QUESTION = "Who is there?"

Way: TypeAlias = Callable[[Office, int, Ear, Ear], Awaitable[bool]]


async def move(office: Office, homes: list[Ear], canary: Ear, rounds: int) -> None:
    """Every way in turn, several at a time; each home is one client's."""
    left = iter(range(rounds))

    async def client(number: int) -> None:
        home = homes[number]
        for turn in left:
            agent, key = await office.new(home)
            if not await office.answered(agent, QUESTION):
                continue
            if home.heard[-1].key != key:
                office.counts["keys at a wrong address"] += 1
            answers = await WAYS[turn % len(WAYS)](office, agent, home, canary)
            for _ in range(2):
                status = await office.ask(agent, QUESTION)
                if (status == 200) != answers:
                    office.failed(f"Way {turn % len(WAYS)}: {status} {office.said[-1]}")
            home.redirect = None
            office.counts["addresses changed"] += 1

    await side_by_side(len(homes), client)


async def by_request(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    await office.change(agent, base_url=canary.url)
    return True


async def with_the_provider(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    await office.change(agent, provider="mistral", base_url=canary.url)
    return True


async def one_after_the_other(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    await office.change(agent, provider="mistral")
    await office.change(agent, base_url=canary.url)
    return True


async def away_and_back(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    """Whoever has brought it back has not shown that he knows the key."""
    await office.change(agent, base_url=canary.url)
    await office.ask(agent, QUESTION)
    before = len(home.planted())
    await office.change(agent, base_url=home.url)
    await office.ask(agent, QUESTION)
    office.counts["keys at a wrong address"] += len(home.planted()) - before
    return True


async def past_the_service(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    await office.running.behind("UPDATE agents SET base_url = $1 WHERE id = $2", canary.url, agent)
    return False


async def by_redirect(office: Office, agent: int, home: Ear, canary: Ear) -> bool:
    home.redirect = canary.url
    return False


WAYS: tuple[Way, ...] = (
    by_request, with_the_provider, one_after_the_other, away_and_back, past_the_service,
    by_redirect,
)  # fmt: skip
