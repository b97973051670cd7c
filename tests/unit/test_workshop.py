"""Confined processes: what they give back, what they refuse, and what becomes of them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from app.chat.model import Scope
from app.errors import AppError, InvalidInput, MalformedBody, UnsupportedMediaType
from app.ingest import confined, workshop
from app.ingest.errors import (
    DocumentTooComplex,
    InvalidMetadata,
    MalformedDocument,
    ReaderUnavailable,
)
from app.ingest.parse import parse_file
from app.ingest.ports import Upload
from app.ingest.prepare import prepare
from app.ingest.workshop import Workshop

GUIDE = "# Guide\n\n" + "\n\n".join(
    f"## Part {n}\n\n{'Maren Solvik built the Pebble design system. ' * 8}" for n in range(40)
)
PAIRS = "".join(f"**Q{n}.** Where is Pebble {n}?\n\nBehind the door {n}.\n\n" for n in range(20))


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Workshop]:
    shop = Workshop()
    yield shop
    await shop.aclose()


def upload(text: str, **metadata: Any) -> Upload:
    return Upload(1, Scope(tenant_id=1), 1, 1, "T", text, None, metadata, 1)


def english(text: str) -> str:
    return "en"


async def parse(shop: Workshop, name: str, data: bytes, most: int = 1000) -> Any:
    return await shop.parse(name, data, None, most)


async def test_a_file_is_read_as_it_would_be_here(shop: Workshop) -> None:
    files: Mapping[str, bytes] = {
        "a.md": b"---\nkind: faq\n---\n# Caf\xc3\xa9\n\nText.\r\n",
        "b.json": orjson.dumps([{"title": "T", "text": "x\u202e", "metadata": {"a": [1, 2.5]}}]),
        "c.jsonl": b'{"question": "Q?", "answer": "A."}\n{"title": "T", "text": "B."}\n',
    }
    for name, data in files.items():
        assert await parse(shop, name, data) == parse_file(name, data)


@pytest.mark.parametrize("text, metadata", [(GUIDE, {}), (PAIRS, {"kind": "faq"}), ("é🎉 x", {})])
async def test_a_text_is_cut_as_it_would_be_here(
    shop: Workshop, text: str, metadata: dict[str, Any]
) -> None:
    each = upload(text, **metadata)
    assert await shop.prepare(each, 300, english) == prepare(each, 300, english)


REFUSED: tuple[tuple[str, bytes, type[AppError]], ...] = (
    ("deep.json", b"[" * 5_000_000, MalformedDocument),
    ("objects.json", b"[" + b"{}," * 10_000_000 + b"{}]", DocumentTooComplex),
    ("number.json", b'{"title":"a","text":"b","metadata":{"a":' + b"9" * 10**6 + b"}}", AppError),
    ("archive.md", b"PK\x03\x04" + b"a" * 1000, UnsupportedMediaType),
    (
        "metadata.json",
        b'{"title":"a","text":"b","metadata":{"a":[' + b"[]," * 20_000 + b"[]]}}",
        InvalidMetadata,
    ),
    ("lines.jsonl", b'{"title":"a","text":"b"}\n' * 1001, InvalidInput),
)


@pytest.mark.parametrize(("name", "data", "refusal"), REFUSED, ids=[each[0] for each in REFUSED])
async def test_a_bomb_is_refused_and_the_next_file_is_read(
    shop: Workshop, name: str, data: bytes, refusal: type[AppError]
) -> None:
    with pytest.raises(refusal) as refused:
        await parse(shop, name, data)
    assert len(refused.value.message) < 300
    assert len(await parse(shop, "a.md", b"# Hi\n\nText.")) == 1


async def test_a_body_is_looked_through(shop: Workshop) -> None:
    await shop.look_through(b'{"documents": [{"title": "T", "text": "x"}]}')
    with pytest.raises(MalformedBody):
        await shop.look_through(b"{")
    with pytest.raises(InvalidInput, match="200,000"):
        await shop.look_through(b"[" + b"1," * 300_000 + b"1]")
    with pytest.raises(DocumentTooComplex):
        await shop.look_through(b"[" + b"{}," * 10_000_000 + b"1]")


async def test_many_are_read_at_once(shop: Workshop) -> None:
    names = [f"{n}.md" for n in range(20)]
    read = await asyncio.gather(*(parse(shop, name, f"# {name}".encode()) for name in names))
    assert [documents[0].title for documents in read] == names


async def test_the_process_has_no_secrets_few_files_and_low_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENT_KMS_KEY", "secret")
    shop = Workshop()
    try:
        await parse(shop, "a.md", b"# Hi")
        process = source(shop)
        assert set(process.environ()) <= {
            *workshop.KEPT_VARIABLES,
            "PYTHONPATH",
            "PYTHONSAFEPATH",
            "LC_CTYPE",  # Python's own
        }
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        bound = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
        assert bound["Max address space"] == str(confined.MEMORY_BYTES)
        assert bound["Max open files"] == str(confined.OPEN_FILES)
        assert (bound["Max file size"], bound["Max core file size"]) == ("0", "0")
        opened = {str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert {each.partition(":")[0] for each in opened} <= {"/dev/null", "socket"}
    finally:
        await shop.aclose()


async def test_every_job_has_a_process_of_its_own_that_ends(shop: Workshop) -> None:
    await parse(shop, "a.md", b"# Hi")
    for child in source(shop).children():
        child.wait(10)


async def test_the_process_is_replaced_after_its_death(shop: Workshop) -> None:
    await parse(shop, "a.md", b"# Hi")
    first = source(shop)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert len(await parse(shop, "a.md", b"# Hi")) == 1
    assert source(shop).pid != first.pid


async def test_the_end_of_the_service_ends_it() -> None:
    """Also where nobody says so: its connection breaks off, as when the service is killed."""
    shop = Workshop()
    await parse(shop, "a.md", b"# Hi")
    process = source(shop)
    assert shop._source is not None
    shop._source._control.close()
    process.wait(10)
    await shop.aclose()
    with pytest.raises(ReaderUnavailable):
        await parse(shop, "a.md", b"# Hi")


async def test_what_takes_too_long_ends_and_a_caller_may_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process is stopped here, so that it can answer nobody."""
    shop = Workshop()
    await parse(shop, "a.md", b"# Hi")
    process = source(shop)
    process.suspend()
    leaving = asyncio.create_task(parse(shop, "b.md", b"# Hi"))
    for _ in range(3):  # until it has its place
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert leaving.cancelled() and shop._jobs
    monkeypatch.setattr(workshop, "SECONDS", 0.0)
    monkeypatch.setattr(workshop, "GRACE_SECONDS", 0.2)
    with pytest.raises(ReaderUnavailable):
        await parse(shop, "c.md", b"# Hi")
    monkeypatch.undo()
    assert len(await parse(shop, "d.md", b"# Hi")) == 1
    await shop.aclose()


def source(shop: Workshop) -> psutil.Process:
    assert shop._source is not None
    return psutil.Process(shop._source._process.pid)
