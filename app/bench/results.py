"""The file of results: every round's value of every figure, and the machine that they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from app.bench.figures import Figure, read_figure
from app.bench.machine import Machine
from app.errors import InvalidInput

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bench came to: figures, or the sentence that says why there are none. `busy` is
    how many cores others kept at work just before."""

    name: str
    measures: str
    rounds: int
    seconds: float
    busy: float
    figures: Sequence[Figure] = ()
    error: str | None = None

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.reached is False]


@dataclass(frozen=True, slots=True)
class Results:
    """What a run of `citestream bench` came to. `profile` is the name of the file that was measured
    with, `settings` what was in it."""

    began: datetime
    machine: Machine
    outcomes: Sequence[Outcome]
    profile: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether everything could be measured and no limit is missed."""
        return all(each.error is None and not each.missed for each in self.outcomes)

    def fields(self) -> dict[str, Any]:
        """As they are written to a file."""
        return {
            "format": FORMAT,
            "began": self.began.isoformat(timespec="seconds"),
            "machine": self.machine.fields(),
            "profile": self.profile,
            "settings": dict(self.settings),
            "benches": [_outcome_fields(each) for each in self.outcomes],
        }


def named(figures: Sequence[Figure]) -> list[Figure]:
    """Each with the whole of its name, which no other one has: by it another run's is found."""
    made: dict[str, Figure] = {}
    last = ""
    for figure in figures:
        whole = name = figure.name.strip()
        if figure.name.startswith(" "):
            whole = name = f"{last}: {name}"
        else:
            last = name
        for again in range(2, len(figures) + 1):
            if name in made:
                name = f"{whole} ({again})"
        made[name] = replace(figure, name=name)
    return list(made.values())


def write_results(file: Path, results: Results) -> None:
    """Replace the file at once: whoever looks never sees half of it."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(orjson.dumps(results.fields(), option=orjson.OPT_INDENT_2))
    beside.replace(file)


def read_results(file: Path) -> Results:
    """Raises InvalidInput for a file that is none of ours."""
    try:
        fields = orjson.loads(file.read_bytes())
    except OSError:
        raise InvalidInput(f"{file} cannot be read.") from None
    except ValueError:
        raise InvalidInput(f"{file} is not JSON.") from None
    try:
        if fields["format"] != FORMAT:
            raise InvalidInput(f"{file} was written by another version of `citestream bench`.")
        return Results(
            datetime.fromisoformat(fields["began"]),
            Machine(**fields["machine"]),
            [_outcome(each) for each in fields["benches"]],
            fields["profile"],
            dict(fields["settings"]),
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidInput(f"{file} is not a file of `citestream bench --output`.") from None


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "measures": outcome.measures,
        "rounds": outcome.rounds,
        "seconds": round(outcome.seconds, 1),
        "busy_cores_before": round(outcome.busy, 2),
        "error": outcome.error,
        "figures": [figure.fields() for figure in outcome.figures],
    }


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    return Outcome(
        str(fields["name"]),
        str(fields["measures"]),
        int(fields["rounds"]),
        float(fields["seconds"]),
        float(fields["busy_cores_before"]),
        [read_figure(each) for each in fields["figures"]],
        fields["error"],
    )
