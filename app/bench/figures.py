"""Figures of a benchmark: medians with their spread over the rounds, beside their limits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

RATE = "/s"
SIGNS = {"higher": "≥", "lower": "≤"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One value a round. `limit`, where there is one, is what must be reached. A `yardstick` is of
    something else than Citestream: where it changes, the machine has.

    A name that begins with spaces goes on from the last one before it that does not.
    """

    name: str
    unit: str
    values: Sequence[float]
    limit: float | None = None
    better: Literal["higher", "lower"] = "lower"
    yardstick: bool = False

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the limit; None without one."""
        if self.limit is None:
            return None
        return self.median >= self.limit if self.better == "higher" else self.median <= self.limit

    @property
    def rises(self) -> bool:
        """Whether more is better, as it is of every rate."""
        return self.better == "higher" or self.unit.endswith(RATE)

    @property
    def amount(self) -> str:
        """The median with its unit."""
        return f"{number(self.median)} {self.unit}".rstrip()

    @property
    def spread(self) -> str:
        """The least to the most of the rounds."""
        return f"{number(min(self.values))} to {number(max(self.values))}"

    @property
    def aim(self) -> str:
        """The limit with its sign; nothing without one."""
        return "" if self.limit is None else f"{SIGNS[self.better]} {number(self.limit)}"

    @property
    def verdict(self) -> str:
        """A word for what it came to; nothing without a limit."""
        return {None: "", True: "ok", False: "MISSED"}[self.reached]

    def line(self) -> str:
        """The figure as it is printed; a miss is marked."""
        spread = f"({self.spread})"
        line = f"{self.name:<62} {number(self.median):>7} {self.unit:<8} {spread:<20}"
        return line.rstrip() if self.limit is None else f"{line} {self.aim}  {self.verdict}"

    def fields(self) -> dict[str, Any]:
        """The figure as it is written to a file."""
        return {
            **asdict(self),
            "values": list(self.values),
            "median": self.median,
            "least": min(self.values),
            "most": max(self.values),
            "reached": self.reached,
        }


def read_figure(fields: Mapping[str, Any]) -> Figure:
    """What `Figure.fields` has written. Raises KeyError, TypeError or ValueError else."""
    if not fields["values"]:
        raise ValueError("A figure has no values.")
    return Figure(
        str(fields["name"]),
        str(fields["unit"]),
        [float(value) for value in fields["values"]],
        None if fields["limit"] is None else float(fields["limit"]),
        "higher" if fields["better"] == "higher" else "lower",
        bool(fields.get("yardstick")),
    )


def number(value: float) -> str:
    """Three digits are all that a shared machine's figures are worth."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
