"""`citestream tune`: measure this machine, and write what suits it as a profile."""

import asyncio
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from app.bench.machine import Machine, busy, occupied, this_machine
from app.commands.evaluate import check_writable
from app.encoder.loading import DEFAULT_CACHE
from app.errors import InvalidInput
from app.machine import cores, memory_mb
from app.profiles import read_profile
from app.settings import Settings
from app.tuning.findings import profile
from app.tuning.measuring import MEASURED, Subject, measure
from app.tuning.patience import Patience

Say = Callable[[str], None]


async def tune(output: Path, minutes: float, say: Say) -> None:
    """Raises AppError and ConfigurationError for what is wrong before anything slow starts,
    whatever keeps servers from starting, and InvalidInput where the time was too short to measure
    anything: there is no profile of nothing."""
    check_writable(output)
    settings = Settings()
    machine = await asyncio.to_thread(this_machine)
    subject = Subject(
        cores(), memory_mb(), settings.encoder.model, settings.encoder.backend, DEFAULT_CACHE
    )
    say(f"{_told(machine, subject)}; this takes up to {minutes:g} minutes.")
    patience = Patience(minutes * 60)
    others = await occupied()
    if busy(others, subject.cores):
        say(f"Others keep {others:.1f} cores at work: what is found suits that, too.")
    with tempfile.TemporaryDirectory(prefix="citestream-tune-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)  # for the system user of root's Postgres
        found = await measure(subject, Path(folder), patience, say)
    if not any(each.name in MEASURED for each in found):
        raise InvalidInput(
            f"In {minutes:g} minutes nothing could be measured on this machine, so no profile is "
            "written; give it more with --minutes."
        )
    text = profile(_told(machine, subject), datetime.now().astimezone(), found)
    await asyncio.to_thread(output.write_text, text, "utf-8")
    read_profile(output)
    say(f"\n{text}\nWritten: {output}. Use it: citestream run --profile {output}")


def _told(machine: Machine, subject: Subject) -> str:
    return f"{machine.cpu}, {subject.cores} cores, {subject.memory_mb / 1024:.1f} GB"
