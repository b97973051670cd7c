"""What of this machine the process may use; of a container, what it was given."""

import os
from pathlib import Path

# Microseconds of processor time, and in which time; or "max".
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY = Path("/sys/fs/cgroup/memory.max")


def cores(quota: Path = QUOTA) -> int:
    """At least one; of a part of a core the whole."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(allowed, -(-int(share) // int(period))))
    except (OSError, ValueError):  # no cgroups, or no limit
        return allowed


def memory_mb(limit: Path = MEMORY) -> int:
    """All of it, used or not."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(limit.read_text())) >> 20
    except (OSError, ValueError):
        return there >> 20
