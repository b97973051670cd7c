"""How long every stage takes, of this process and of all of them together."""

from app.performance.monitor import PerformanceMonitor
from app.performance.snapshot import Snapshot

__all__ = ["PerformanceMonitor", "Snapshot"]
