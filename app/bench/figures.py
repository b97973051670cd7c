"""Figures of a benchmark: medians with their spread over the rounds, beside their limits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One value a round. `limit`, where there is one, is what must be reached."""

    name: str
    unit: str
    values: Sequence[float]
    limit: float | None = None
    better: Literal["higher", "lower"] = "lower"

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the limit; None without one."""
        if self.limit is None:
            return None
        return self.median >= self.limit if self.better == "higher" else self.median <= self.limit

    def line(self) -> str:
        """The figure as it is printed; a miss is marked."""
        spread = f"({_number(min(self.values))} to {_number(max(self.values))})"
        line = f"{self.name:<62} {_number(self.median):>7} {self.unit:<8} {spread:<20}"
        if self.limit is None:
            return line.rstrip()
        sign = "≥" if self.better == "higher" else "≤"
        return f"{line} {sign} {_number(self.limit)}  {'ok' if self.reached else 'MISSED'}"

    def fields(self) -> dict[str, Any]:
        """The figure as it is written to a file."""
        return {**asdict(self), "median": self.median, "reached": self.reached}


def _number(value: float) -> str:
    """Three digits are all that a shared machine's figures are worth."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
