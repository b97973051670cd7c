"""`citestream bench`: figures of this machine, beside what must be reached."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from app.bench.figures import Figure
from app.bench.machine import busy, occupied, this_machine
from app.bench.page import page
from app.bench.registry import Bench, Task, told
from app.bench.results import Outcome, Results, named, write_results
from app.bench.tables import missed
from app.commands.evaluate import check_writable
from app.commands.failures import sentence
from app.profiles import Profile, find_profile
from app.settings import Settings
from app.zero_setup import encoder_command

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was called with. `rounds` and `chunks` None: as many as each bench has of
    its own."""

    rounds: int | None
    chunks: int | None
    output: Path | None
    html: Path | None
    config: Path | None

    @property
    def page(self) -> Path | None:
        """Beside the figures, where it is not put elsewhere."""
        beside = self.output.with_suffix(".html") if self.output else None
        return self.html or beside


async def run_benches(benches: Sequence[Bench], options: Options, say: Say) -> bool:
    """Measure one bench after the other, print, and write what there is after each of them, so
    that whatever ends a later one costs nothing else. True where every limit is kept. Raises
    AppError and ConfigurationError for what is wrong before anything slow starts."""
    for file in (options.output, options.page):
        check_writable(file)
    profile = None if options.config is None else find_profile(str(options.config))
    results = Results(datetime.now(UTC), await asyncio.to_thread(this_machine), ())
    if profile is not None:
        results = replace(results, profile=profile.name, settings=profile.values)
    for line in _announcement(benches, profile, results):
        say(line)
    for place, bench in enumerate(benches, 1):
        say(f"\n[{place}/{len(benches)}] {bench.name}: {bench.measures}")
        outcome = await _measure(bench, options, profile, results.machine.cores, say)
        results = replace(results, outcomes=[*results.outcomes, outcome])
        await asyncio.to_thread(_write, options, results)
    for line in _ending(results, options):
        say(line)
    return results.kept


def _announcement(benches: Sequence[Bench], profile: Profile | None, results: Results) -> list[str]:
    """What is about to happen, and for how long."""
    machine = results.machine
    lines = [f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb} GB"]
    if profile is not None:
        lines += [
            f"{bench.name} is measured as shipped: it takes nothing from a profile."
            for bench in benches
            if not bench.takes_profile
        ]
    if len(benches) > 1:
        minutes = sum(bench.minutes for bench in benches)
        lines.append(f"{len(benches)} benches, about {told(minutes)} on an idle machine.")
    return lines


async def _measure(
    bench: Bench, options: Options, profile: Profile | None, cores: int, say: Say
) -> Outcome:
    """One bench, in a folder of its own. What is expected to go wrong is told and kept."""
    rounds = options.rounds or bench.rounds
    others, began = await occupied(), time.perf_counter()
    if busy(others, cores):
        say(f"Others keep {others:.1f} cores at work: times will be longer than they need be.")
    figures, failure = list[Figure](), None
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)  # for the system user of root's Postgres
        task = Task(Path(folder), say, rounds, options.chunks)
        if profile is not None:
            task = replace(
                task,
                profile=profile.values,
                variables=profile.variables(),
                encoder=encoder_command(Settings(**{**profile.by_alias(), "data": Path(folder)})),
            )
        try:
            figures = named(await bench.run(task))
        except Exception as error:
            failure = _reason(error)
            if failure is None:
                raise
    say(f"{bench.name} could not be measured: {failure}" if failure else "")
    for figure in figures:
        say(figure.line())
    seconds = time.perf_counter() - began
    return Outcome(bench.name, bench.measures, rounds, seconds, others, figures, failure)


def _reason(error: Exception) -> str | None:
    """Why a bench could not run, where that is no mistake of ours."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("app."):
        return f"It needs the package {error.name.partition('.')[0]}, which is not installed."
    return sentence(error)


def _write(options: Options, results: Results) -> None:
    if options.output is not None:
        write_results(options.output, results)
    if options.page is not None:
        options.page.write_text(page(results), encoding="utf-8")


def _ending(results: Results, options: Options) -> list[str]:
    lines = missed(results)
    told_missed = ["", "MISSED", *lines] if lines else ["", "Every limit is kept."]
    written = [str(file) for file in (options.output, options.page) if file is not None]
    return [*told_missed, *([f"Written: {', '.join(written)}"] if written else [])]
