"""What was found out, and the profile that says so. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import wrap

# Between two that are as good as the same it is the smaller one: it takes less memory, and a
# measurement of seconds does not tell them apart.
AS_GOOD = 0.95
LINE = 96


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting, by its section and name, the value that suits this machine, and what was measured
    to say so. `section` is empty for those that stand by themselves."""

    section: str
    name: str
    value: int
    why: str


def smallest_as_good(measured: Mapping[int, float], share: float = AS_GOOD) -> int:
    """The smallest of the settings whose figure, the higher the better, is at least this share of
    the best one's."""
    best = max(measured.values())
    return min(value for value, figure in measured.items() if figure >= share * best)


def was_compared(measured: Mapping[int, float], tried: Sequence[int]) -> bool:
    """Whether what was measured of the settings to be tried says anything: one alone does only
    where there is no other."""
    return len(measured) >= min(2, len(tried))


def told(measured: Mapping[int, float], unit: str) -> str:
    """`2: 120/s, 4: 131/s`."""
    return ", ".join(f"{value}: {_rounded(figure)}{unit}" for value, figure in measured.items())


def local_mb(memory_mb: int, workers: int) -> int:
    """What a worker may keep of answers at hand: all of them a hundredth of the memory; 4 MB hold
    what most ask for, and more than 64 MB nobody asks for again."""
    return min(64, max(4, memory_mb // 100 // workers))


def most_connections(limit: int, workers: int) -> int:
    """The largest pool of which each worker may have one and a half, with a fifth of the server's
    connections left to others."""
    return max(2, int(limit * 0.8 / workers / 1.5))


def profile(machine: str, when: datetime, findings: Sequence[Finding]) -> str:
    """As YAML, with a comment for each value."""
    lines = [f"# Measured by `citestream tune` on {when:%Y-%m-%d}: {machine}."]
    alone = [each for each in findings if not each.section]
    sections = dict.fromkeys(each.section for each in findings if each.section)
    for each in alone:
        lines += ["", *_setting(each, "")]
    for section in sections:
        lines += ["", f"{section}:"]
        for each in findings:
            if each.section == section:
                lines += _setting(each, "  ")
    return "\n".join(lines) + "\n"


def _setting(finding: Finding, indent: str) -> list[str]:
    comment = wrap(finding.why, LINE - len(indent))
    return [*(f"{indent}# {line}" for line in comment), f"{indent}{finding.name}: {finding.value}"]


def _rounded(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
