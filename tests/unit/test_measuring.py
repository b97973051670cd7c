"""What is noted of every run: stages, errors, and in the log those that were slow."""

from contextlib import suppress
from typing import Any

import pytest
import structlog

from app.chat.measuring import Measuring
from app.errors import AppError, ProviderTimeout
from app.performance import PerformanceMonitor
from tests.support.core import SCOPE, Core, ScriptedProvider, ticking


def stages(monitor: PerformanceMonitor) -> dict[str, Any]:
    found: dict[str, Any] = monitor.report()["since_start"]["stages"]
    return found


async def answered(core: Core, monitor: PerformanceMonitor, slow_seconds: float = 60) -> None:
    engine = core.engine(Measuring(monitor, slow_seconds))
    with suppress(AppError):
        await engine.ask("What is Atlas?", scope=SCOPE)
    await engine.close()


async def test_an_answer_leaves_the_time_of_each_of_its_stages() -> None:
    monitor = PerformanceMonitor(ticking())
    core = Core(provider=ScriptedProvider(["The ", "map ", "project [1]."]))
    await answered(core, monitor)
    found = stages(monitor)
    for stage in ("load", "analyze", "cache", "prompt", "first_token", "persist", "total"):
        assert found[stage]["count"] == 1, stage
    assert found["between_tokens"]["count"] == 2
    assert sum(each["errors"] for each in found.values()) == 0


async def test_a_cached_answer_has_a_total_of_its_own() -> None:
    monitor = PerformanceMonitor(ticking())
    core = Core()
    await answered(core, monitor)
    await answered(core, monitor)
    found = stages(monitor)
    assert found["total"]["count"] == found["cached_total"]["count"] == 1


async def test_a_failure_is_counted_by_its_code() -> None:
    monitor = PerformanceMonitor(ticking())
    core = Core(provider=ScriptedProvider(["The "], error=ProviderTimeout()))
    await answered(core, monitor)
    assert stages(monitor)["total"]["errors_by_code"] == {"provider_timeout": 1}


@pytest.mark.parametrize(("slow_seconds", "lines"), [(0.0, 1), (60.0, 0)])
async def test_a_slow_answer_is_logged_with_its_stages(slow_seconds: float, lines: int) -> None:
    with structlog.testing.capture_logs() as logged:
        await answered(Core(), PerformanceMonitor(ticking()), slow_seconds)
    slow = [each for each in logged if each["event"] == "slow answer"]
    assert len(slow) == lines
    for each in slow:
        assert {"load", "prompt", "total"} <= each["stages"].keys()
        assert "Atlas" not in str(each)
