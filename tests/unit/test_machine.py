"""How many cores and how much memory there are to use, of a machine or of a container on it."""

from pathlib import Path

import pytest

from app.machine import cores, memory_mb


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
