"""Two files of results: what changed by more than the noise of their rounds.

A figure has changed where both hold: its rounds differ by the exact two-sided rank-sum test of
Wilcoxon, Mann and Whitney at the level `LEVEL`, and its medians by at least `CHANGE`. The test asks
how many of all ways to deal the same values out to the two runs would set them as far apart: it
needs no assumption about how times are spread, which is seldom a bell (Mann and Whitney, "On a test
of whether one of two random variables is stochastically larger than the other", Annals of
Mathematical Statistics 18, 1947; for few repetitions of a benchmark: Chen et al., "Statistical
performance comparisons of computers", IEEE Transactions on Computers 64, 2015). The smallest
change is asked for because rounds of one run share what that run was dealt (memory's layout, the
machine's neighbours) and so are nearer to each other than two runs are (Kalibera and Jones,
"Rigorous benchmarking in reasonable time", ISMM 2013).

The test reaches that level with five rounds on either side. With fewer the runs must be apart, all
of one's rounds above all of the other's, and the medians differ by `FEW_CHANGE`. A single value has
no noise to judge by: it counts where it crosses its limit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf
from typing import Literal, TypeAlias

from app.bench.figures import Figure
from app.bench.machine import busy
from app.bench.results import Results

LEVEL = 0.01
CHANGE, FEW_CHANGE = 0.05, 0.25

Verdict: TypeAlias = Literal["worse", "better", "yardstick", "same", "one value"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of both files. `yardstick` is the verdict of one that changed and is not ours."""

    bench: str
    old: Figure
    new: Figure
    verdict: Verdict

    @property
    def change(self) -> float:
        """Of the median, as a share of the old one: 0.5 is half as much again."""
        return change(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`only_old` and `only_new` are the figures that the other file lacks; `notes` say what else
    differs between the runs, and so might be the reason."""

    figures: Sequence[Compared]
    only_old: Sequence[str]
    only_new: Sequence[str]
    notes: Sequence[str]

    def of(self, verdict: Verdict) -> list[Compared]:
        """The figures with this verdict, the largest change first."""
        some = [each for each in self.figures if each.verdict == verdict]
        return sorted(some, key=lambda each: -abs(each.change))


def compare(old: Results, new: Results) -> Comparison:
    """What changed from one run to the other."""
    before, after = _by_name(old), _by_name(new)
    figures = [
        Compared(bench, before[bench, name], figure, judge(before[bench, name], figure))
        for (bench, name), figure in after.items()
        if (bench, name) in before
    ]
    return Comparison(
        figures,
        [": ".join(key) for key in before if key not in after],
        [": ".join(key) for key in after if key not in before],
        _differences(old, new),
    )


def judge(old: Figure, new: Figure) -> Verdict:
    """Whether a figure changed beyond noise, and to which side."""
    if min(len(old.values), len(new.values)) == 1:
        if {old.reached, new.reached} != {True, False}:
            return "one value"
    elif not differ(old.values, new.values, abs(change(old, new))):
        return "same"
    if new.yardstick:
        return "yardstick"
    return "better" if (new.median > old.median) == new.rises else "worse"


def differ(old: Sequence[float], new: Sequence[float], changed: float) -> bool:
    """Whether two runs' rounds differ by more than noise; `changed` is the share of the medians."""
    if 2 / comb(len(old) + len(new), len(old)) <= LEVEL:
        return changed >= CHANGE and rank_sum_p(old, new) <= LEVEL
    apart = min(old) > max(new) or max(old) < min(new)
    return changed >= FEW_CHANGE and apart


def rank_sum_p(old: Sequence[float], new: Sequence[float]) -> float:
    """The exact two-sided p-value of the rank-sum test, ties included: the share of all ways to
    choose as many of the values whose rank sum is as far from its mean as the old ones' is."""
    ranks = _doubled_ranks([*old, *new])
    # How many ways there are to take so many of the values with such a sum of ranks.
    ways: list[Counter[int]] = [Counter() for _ in range(len(old) + 1)]
    ways[0][0] = 1
    for rank in ranks:
        for taken in range(len(old), 0, -1):
            for total, count in ways[taken - 1].items():
                ways[taken][total + rank] += count
    mean = len(old) * (len(ranks) + 1)
    distance = abs(sum(ranks[: len(old)]) - mean)
    far = sum(count for total, count in ways[-1].items() if abs(total - mean) >= distance)
    return far / comb(len(ranks), len(old))


def change(old: Figure, new: Figure) -> float:
    """Of the medians, as a share of the old one."""
    difference = new.median - old.median
    if not old.median:
        return inf if difference else 0.0
    return difference / abs(old.median)


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Ranks from 1, twice over: values that are equal share theirs, which may end in a half."""
    ordered = sorted(values)
    first: dict[float, int] = {}
    for place, value in enumerate(ordered):
        first.setdefault(value, place)
    many = Counter(ordered)
    return [2 * first[value] + many[value] + 1 for value in values]


def _by_name(results: Results) -> dict[tuple[str, str], Figure]:
    return {
        (outcome.name, figure.name): figure
        for outcome in results.outcomes
        for figure in outcome.figures
    }


def _differences(old: Results, new: Results) -> list[str]:
    """What else is not as it was: the machine, versions, settings, and benches that failed."""
    notes = [
        f"{name}: {before} then, {after} now"
        for name, before, after in _changed(old.machine.fields(), new.machine.fields())
    ]
    if old.settings != new.settings:
        notes.append(f"profile: {old.profile or 'none'} then, {new.profile or 'none'} now")
    for when, results in (("then", old), ("now", new)):
        notes += [
            f"{each.name}: not to be trusted, others kept {each.busy:.1f} cores at work {when}"
            for each in results.outcomes
            if busy(each.busy, results.machine.cores)
        ]
        notes += [
            f"{each.name} failed {when}: {each.error}" for each in results.outcomes if each.error
        ]
    return notes


def _changed(
    old: Mapping[str, object], new: Mapping[str, object]
) -> list[tuple[str, object, object]]:
    """By name; what is a table of versions counts by its lines."""
    found: list[tuple[str, object, object]] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _changed(before, after)
        elif before != after:
            found.append((name, before or "none", after or "none"))
    return found
