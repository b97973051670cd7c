"""Results in words and rows, for every form that they are reported in."""

from collections.abc import Mapping, Sequence

from app.bench.figures import Figure, number
from app.bench.results import Outcome, Results

HEADING = ("figure", "median", "unit", "least to most", "must be", "")


def rows(figures: Sequence[Figure]) -> list[list[str]]:
    """A row a figure, below `HEADING`."""
    return [
        [each.name, number(each.median), each.unit, each.spread, each.aim, each.verdict]
        for each in figures
    ]


def summary(results: Results) -> str:
    """The whole in a sentence or three."""
    figures = [figure for outcome in results.outcomes for figure in outcome.figures]
    limited = [figure for figure in figures if figure.limit is not None]
    kept = sum(figure.reached is True for figure in limited)
    profile = f" With the profile {results.profile}." if results.profile else ""
    return (
        f"Measured {results.began:%Y-%m-%d %H:%M} UTC on {results.machine.cpu}, "
        f"{results.machine.cores} cores: {len(figures)} figures, "
        f"{kept} of {len(limited)} limits kept.{profile}"
    )


def missed(results: Results) -> list[str]:
    """What misses its limit or could not be measured, a line each."""
    lines = []
    for outcome in results.outcomes:
        if outcome.error is not None:
            lines.append(f"{outcome.name}: not measured. {outcome.error}")
        lines += [
            f"{outcome.name}, {each.name}: {each.amount} ({each.spread}), must be {each.aim}"
            for each in outcome.missed
        ]
    return lines


def facts(results: Results) -> list[tuple[str, str]]:
    """The machine and what ran on it, by name."""
    machine = results.machine
    settings = ", ".join(f"{name}: {value}" for name, value in results.settings.items())
    return [
        ("processor", f"{machine.cpu}, {machine.cores} cores"),
        ("memory", f"{machine.memory_gb} GB"),
        ("system", machine.system),
        ("Python", machine.python),
        ("servers", _versions(machine.servers)),
        ("libraries", _versions(machine.libraries)),
        ("commit", machine.commit or "not a checkout"),
        ("profile", f"{results.profile} ({settings})" if results.profile else "as shipped"),
        ("measured", f"{results.began:%Y-%m-%d %H:%M} UTC"),
    ]


def _versions(of: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in of.items())


def outcome_note(outcome: Outcome) -> str:
    """How one bench was measured."""
    rounds = "1 round" if outcome.rounds == 1 else f"{outcome.rounds} rounds"
    return f"{rounds}, {outcome.seconds:.0f} s; others kept {outcome.busy:.1f} cores at work before"
