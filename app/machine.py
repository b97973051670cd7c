"""What of this machine the process may use; of a container, what it was given."""

import os
from pathlib import Path

# Microseconds of processor time, and in which time; or "max".
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY = Path("/sys/fs/cgroup/memory.max")
CPUS = Path("/sys/devices/system/cpu")


def cores(quota: Path = QUOTA) -> int:
    """At least one; of a part of a core the whole."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(allowed, -(-int(share) // int(period))))
    except (OSError, ValueError):  # no cgroups, or no limit
        return allowed


def arithmetic_cores(quota: Path = QUOTA, cpus: Path = CPUS) -> int:
    """As `cores`, but of those that are threads of one core, which compute no faster than one of
    them, one."""
    try:
        siblings = {
            (cpus / f"cpu{number}/topology/thread_siblings_list").read_text()
            for number in os.sched_getaffinity(0)
        }
    except (AttributeError, OSError):  # another system, or a sandbox that does not tell
        return cores(quota)
    return min(cores(quota), len(siblings))


def memory_mb(limit: Path = MEMORY) -> int:
    """All of it, used or not."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(limit.read_text())) >> 20
    except (OSError, ValueError):
        return there >> 20
