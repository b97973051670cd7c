"""How much of this machine's memory the embedded Postgres may keep its tables in."""

import os
from pathlib import Path

# Of a container, which may have less than its machine.
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# What Postgres ships with, and what holds 300,000 chunks with their graphs.
LEAST_MB, MOST_MB = 128, 1024
SHARE = 8


def shared_buffers_mb() -> int:
    """An eighth of the memory, as the encoder and the service live on the same machine. It is
    taken page by page as tables are read, so a small installation never has it."""
    return min(MOST_MB, max(LEAST_MB, _memory_bytes() // SHARE >> 20))


def _memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no cgroups, or `max`
        return machine
