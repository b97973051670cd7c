"""The embedded Postgres' share of the memory."""

import os
from pathlib import Path

import pytest

from app.embedded import memory


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("1073741824", 128), ("4294967296", 512), ("max", None), ("", None)],
    ids=["a small container", "a larger one", "no limit", "not told"],
)
def test_a_container_has_its_own_memory(
    limit: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    share = min(1024, max(128, machine // 8 >> 20))
    assert memory.shared_buffers_mb() == (share if expected is None else min(expected, share))
