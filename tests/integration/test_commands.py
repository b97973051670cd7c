"""The commands as a user types them, each a process of its own."""

import asyncio
import json
import os
import socket
import stat
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest

from app.encoder.backend import PREPARING
from tests.support.command import Running, environment, output_of, running
from tests.support.forking import Output

QUESTION = "Who led the Atlas dashboard?"


@pytest.fixture(scope="module")
async def service(running_service: Running) -> AsyncIterator[Running]:
    yield running_service


async def test_the_ready_line_has_the_page_and_a_curl_that_works_as_printed(
    service: Running,
) -> None:
    line = service.lines[-1]
    shell = line[line.index("curl ") :]
    process = await asyncio.create_subprocess_shell(
        shell, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    printed, _ = await process.communicate()
    events = [json.loads(each[5:]) for each in printed.decode().split("\n") if each[:5] == "data:"]
    assert [events[0]["type"], events[-1]["type"]] == ["start", "done"]
    assert events[-1]["citations"]
    async with httpx2.AsyncClient(trust_env=False) as http:
        page = await http.get(service.url)
    assert page.status_code == 200
    assert "<html" in page.text


async def test_the_api_process_never_imports_torch(service: Running) -> None:
    maps = Path(f"/proc/{service.process.pid}/maps")
    if not maps.exists():  # macOS: the import-linter contract and the encoder's test stand alone
        return
    assert "torch" not in maps.read_text()
    encoder = [
        child
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if "encoder" in child.cmdline()
    ]
    assert len(encoder) == 1
    libraries = Path(f"/proc/{encoder[0].pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "torch" not in libraries


async def test_ask_streams_an_answer_and_lists_its_sources(service: Running) -> None:
    status, printed = await output_of("ask", QUESTION, env=environment(service.data))
    assert status == 0, printed
    assert "[1]" in printed
    assert "Sources" in printed
    assert "atlas-dashboard.md" in printed


async def test_ask_says_in_a_sentence_what_is_wrong(service: Running, forked: Output) -> None:
    env = environment(service.data)
    status, printed = await forked("ask", QUESTION, "--agent", "nobody", env=env)
    assert status == 1
    assert printed.strip().endswith("citestream: There is no such agent.")


async def test_ingest_adds_then_skips_then_replaces(
    service: Running, forked: Output, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.md").write_text("# One\n\nThe first document is about otters.")
    (tmp_path / "deep" / "two.txt").write_text("The second document is about herons.")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00bad")
    env = environment(service.data)
    arguments = ("ingest", str(tmp_path), "--portfolio", "zoo")
    status, printed = await output_of(*arguments, env=env)
    assert "2 new, 0 changed, 0 unchanged, 1 failed" in printed, printed
    assert "bad.txt" in printed
    assert status == 1
    (tmp_path / "bad.txt").unlink()
    (tmp_path / "one.md").write_text("# One\n\nThe first document is about badgers.")
    status, printed = await forked(*arguments, env=env)
    assert status == 0
    assert "0 new, 1 changed, 1 unchanged, 0 failed" in printed, printed


async def test_ingest_names_what_it_leaves_out(
    service: Running, forked: Output, tmp_path: Path
) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "letter.docx").write_bytes(b"PK\x03\x04")
    nowhere = environment(tmp_path / "data")  # nothing is started for nothing
    status, printed = await forked("ingest", str(tmp_path), env=nowhere)
    assert status == 1
    named = "Left out: letter.docx (a type that is not read), report.pdf (a type that is not read)."
    assert printed.startswith(f"citestream: There is nothing to read. {named}"), printed
    assert not (tmp_path / "data").exists()
    (tmp_path / "one.md").write_text("# One\n\nA document about newts.")
    arguments = ("ingest", str(tmp_path), "--portfolio", "mixed")
    status, printed = await forked(*arguments, env=environment(service.data))
    assert status == 0, printed
    assert "1 new, 0 changed, 0 unchanged, 0 failed" in printed
    assert named in printed


async def test_ask_answers_from_a_portfolio_of_no_agent(
    service: Running, forked: Output, tmp_path: Path
) -> None:
    (tmp_path / "ferry.md").write_text("# Ferry\n\nThe ferry to Skarholm leaves at noon.")
    env, question = environment(service.data), "When does the ferry to Skarholm leave?"
    status, printed = await forked("ingest", str(tmp_path), "--portfolio", "ferries", env=env)
    assert status == 0, printed
    status, printed = await forked("ask", question, "--portfolio", "ferries", env=env)
    assert status == 0, printed
    assert "leaves at noon. [1]" in printed
    status, printed = await forked("ask", question, "--portfolio", "ferry", env=env)
    assert status == 1
    assert "citestream: There is no portfolio 'ferry'" in printed
    status, printed = await forked("ask", question, "--tenant", "nowhere", env=env)
    assert status == 1
    assert "citestream: There is no such tenant." in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", QUESTION),
        ("key",),
        ("user", "list"),
        ("token", "--user", "ada@example.com"),
        ("ingest", str(Path(__file__).parents[2] / "README.md")),
    ],
)
async def test_a_command_says_where_it_makes_a_new_installation(
    forked: Output, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("no folder can be made in it")
    data = tmp_path / "file" / "data"
    status, printed = await forked(*arguments, env=environment(data))
    assert status == 1
    assert printed.startswith(f"Making a new, empty installation in {data}; CITESTREAM_DATA")


async def test_help_says_what_ingest_reads_and_how_to_convert_the_rest(
    forked: Output, tmp_path: Path
) -> None:
    status, printed = await forked("ingest", "--help", env=environment(tmp_path))
    assert status == 0
    for word in ("HTML", "Lines", "pdftotext", "pandoc", "--tenant"):
        assert word in printed, printed


async def test_a_key_of_a_new_tenant_opens_only_that_tenant(service: Running) -> None:
    status, printed = await output_of("key", "--tenant", "acme", env=environment(service.data))
    assert status == 0, printed
    assert printed.startswith("cs_"), "a script takes the whole output as the key"
    headers = {"Authorization": f"Bearer {printed.strip()}"}
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
        agents = await http.get("/api/agents", headers=headers)
    assert agents.json() == {"items": [], "next": None}


async def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, printed = await output_of("run", env=environment(tmp_path / "data", PORT=port))
    assert status == 1
    assert f"Port {port} on 127.0.0.1 is in use" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"CITESTREAM_TYPO": "1"}, "CITESTREAM_TYPO is not a setting"),
        ({"PORT": "many"}, "PORT:"),
        ({"CITESTREAM_FEATURES__STREAMING": "perhaps"}, "CITESTREAM_FEATURES__STREAMING:"),
    ],
)
async def test_a_wrong_setting_is_one_sentence(
    forked: Output, tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    status, printed = await forked("run", env=environment(tmp_path, **variables))
    assert status == 1
    assert says in printed
    assert "Traceback" not in printed


async def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    env = environment(tmp_path / "file" / "data", PORT="0")
    status, printed = await output_of("run", env=env)
    assert status == 1
    assert "Traceback" not in printed
    assert str(tmp_path / "file" / "data") in printed


async def test_help_names_every_command(tmp_path: Path) -> None:
    status, printed = await output_of("--help", env=environment(tmp_path))
    assert status == 0
    names = "run", "serve", "encoder", "migrate", "ingest", "ask", "key", "token", "user", "tune"
    for name in names:
        assert name in printed


async def test_the_version_is_that_of_the_package(forked: Output, tmp_path: Path) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    status, printed = await forked("--version", env=environment(tmp_path))
    assert (status, printed.strip()) == (0, f"citestream {project['version']}")


async def test_ctrl_c_stops_every_process_and_data_survive(server_folder: Path) -> None:
    data = server_folder / "restarted"
    async with running(data) as service:
        assert PREPARING in service.lines  # only the first start does it
        children = psutil.Process(service.process.pid).children(recursive=True)
        assert len(children) >= 3
        async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
            asked = await http.post("/api/agents/1/chat", json={"message": QUESTION}, timeout=30)
        assert await service.interrupt() == 0
    assert not [child for child in children if child.is_running()]
    modes = [stat.S_IMODE(parent.stat().st_mode) for parent in data.parents if parent != Path("/")]
    async with running(data) as again:
        assert not [line for line in again.lines if "Indexing" in line or PREPARING in line]
        path = f"/api/conversations/{asked.json()['conversation_id']}"
        async with httpx2.AsyncClient(base_url=again.url, trust_env=False) as http:
            stored = await http.get(path)
        assert stored.json()["messages"][0]["content"] == QUESTION
        os.kill(again.process.pid, 15)
        async with asyncio.timeout(30):
            await again.process.wait()
    assert modes == [
        stat.S_IMODE(parent.stat().st_mode) for parent in data.parents if parent != Path("/")
    ]
