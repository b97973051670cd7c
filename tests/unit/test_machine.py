"""How many cores and how much memory there are to use, of a machine or of a container on it."""

import os
from pathlib import Path

import pytest

from app.machine import arithmetic_cores, cores, memory_mb


@pytest.mark.parametrize(
    ("quota", "most"),
    [("100000 100000", 1), ("50000 100000", 1), ("150000 100000", 2), ("max 100000", 4096)],
)
def test_a_container_has_no_more_cores_than_its_quota(
    tmp_path: Path, quota: str, most: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert cores(file) == min(cores(tmp_path / "none"), most) >= 1


@pytest.mark.parametrize(("limit", "most"), [("67108864", 64), ("max", 1 << 40)])
def test_a_container_has_no_more_memory_than_its_limit(
    tmp_path: Path, limit: str, most: int
) -> None:
    file = tmp_path / "memory.max"
    file.write_text(limit)
    assert memory_mb(file) == min(memory_mb(tmp_path / "none"), most) > 0


def test_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "none"
    allowed = [1, 2, 5]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed), raising=False)
    for number in allowed:
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number}\n")
    assert arithmetic_cores(quota, tmp_path) == cores(quota) == len(allowed)
    for number in allowed:
        (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text("0-1\n")
    assert arithmetic_cores(quota, tmp_path) == 1
    assert arithmetic_cores(quota, tmp_path / "not there") == len(allowed)
