"""Embedded servers that are killed are started again by the process that owns them."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from app.embedded.guarding import guarded
from app.embedded.process import EmbeddedError
from tests.support.people import ENCODER, Person, a_person, answer, copy_site, end, servers_of
from tests.support.waiting import until


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    place = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    place.chmod(0o755)
    user = "root" if os.geteuid() == 0 else "ourselves"
    with a_person(place, copy_site(place / "site"), user) as made:
        yield made
    shutil.rmtree(place)


async def value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def main_processes(person: Person) -> dict[str, psutil.Process]:
    """Of each kind of server the process that the others are children of, once it is that."""
    found = {}
    for each in servers_of(person.folder):
        try:
            found["encoder" if "--uds" in each.cmdline() else each.name()] = each
        except psutil.Error:
            continue
    return found


async def test_each_is_started_again(person: Person) -> None:
    process = person.start(person.folder / "data", str(person.python), "-c", ENCODER)
    servers = answer(process)
    await value(servers["owner_url"], "CREATE TABLE kept AS SELECT 42 AS number")
    former = main_processes(person)
    assert set(former) == {"postgres", "valkey-server", "encoder"}
    for each in former.values():
        each.kill()

    async def back() -> bool:
        now = main_processes(person)
        if set(now) != set(former) or any(now[kind] == former[kind] for kind in now):
            return False
        try:
            return await value(servers["owner_url"], "SELECT number FROM kept") == 42
        except (OSError, asyncpg.PostgresError):
            return False

    await until(back)
    assert end(process) == 0
    assert servers_of(person.folder) == []


async def test_nothing_is_left_where_the_end_comes_while_one_starts(person: Person) -> None:
    process = person.start(person.folder / "data")
    answer(process)
    main_processes(person)["postgres"].kill()
    assert end(process, signal.SIGTERM) == 128 + signal.SIGTERM
    assert servers_of(person.folder) == []


class Failing:
    """Ends at once, and starts at the second try."""

    name = "It"

    def __init__(self) -> None:
        self.tries = 0

    @property
    def is_running(self) -> bool:
        return self.tries >= 2

    async def start(self, on_progress: object) -> None:
        self.tries += 1
        if not self.is_running:
            raise EmbeddedError("The disk is full.")


async def test_one_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.guarding.AGAIN_SECONDS", 0.01)
    server, said = Failing(), list[str]()
    async with guarded([server], said.append):
        await until(lambda: server.is_running)
    again = "It has ended; starting it again"
    assert said == [again, "The disk is full.", again]
