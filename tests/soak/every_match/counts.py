"""What is counted while searching, with the first examples of what should not be."""

from collections import Counter, defaultdict
from collections.abc import Callable

EXAMPLES = 5
Group = tuple[str, str, str]  # phase, size class, filter


class Counts:
    """`recall` has each judged search's share of the exact answer, by phase, class and filter."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.of: Counter[str] = Counter()
        self.recall: defaultdict[Group, list[float]] = defaultdict(list)
        self._note = note

    def wrong(self, kind: str, example: str, count: int = 1) -> None:
        if not count:
            return
        self.of[f"{kind}: examples"] += 1
        self.of[kind] += count
        if self.of[f"{kind}: examples"] <= EXAMPLES:
            self._note(f"{kind}: {example}")

    def lowest(self, phase: str) -> float:
        """The mean recall of the worst class and filter of the phase."""
        means = [_mean(shares) for group, shares in self.recall.items() if group[0] == phase]
        return min(means, default=0.0)

    def told(self, phase: str) -> list[str]:
        """Mean recall by class and filter, with the number of searches, a line for each class."""
        lines: dict[str, list[str]] = {}
        for (each, size_class, share), shares in sorted(self.recall.items(), key=_by_size):
            if each == phase:
                figure = f"{share} {_mean(shares):.3f} ({len(shares)})"
                lines.setdefault(size_class, []).append(figure)
        return [
            f"Recall@10 {phase} of {size_class} chunks: {', '.join(figures)}."
            for size_class, figures in lines.items()
        ]


def _by_size(item: tuple[Group, list[float]]) -> tuple[int, float]:
    """The smallest portfolios first; no filter first, then by how much it leaves."""
    _, size_class, share = item[0]
    left = 100.0 if share == "all" else float(share.split()[0])
    return int(size_class.split()[0].replace(",", "")), -left


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
