"""What the measurement came to: figures by run and by stage."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from app.evaluation.asking import FUSED, TOTAL, Asked
from app.evaluation.metrics import first_relevant, ndcg, percentile, recall, reciprocal_rank

CUT = 10  # nDCG@10 and MRR@10 are what publications compare


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the questions, from 0 to 1. `recall` has every k from 1; `degraded` counts the
    questions that a source did not answer in time or at all, `silent` those with nothing found."""

    ndcg: float
    mrr: float
    recall: Mapping[int, float]
    degraded: int
    silent: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Milliseconds of one stage of a fused search."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Report:
    """`facts` say what was measured, where and how, in the order in which they are shown."""

    dataset: str
    facts: Mapping[str, object]
    cuts: Sequence[int]
    qualities: Mapping[str, Quality]
    stages: Mapping[str, Stage]
    asked: Sequence[Asked]
    notes: Sequence[str]

    def missed(self) -> list[Asked]:
        """The questions whose fused ranking has nothing relevant among the first ten."""
        return [each for each in self.asked if (first(each, FUSED) or CUT + 1) > CUT]

    def fields(self) -> dict[str, Any]:
        """The report as it is written to a file."""
        return {
            "dataset": self.dataset,
            "facts": self.facts,
            "quality": {run: self._figures(each) for run, each in self.qualities.items()},
            "stages_ms": {name: {"p50": s.p50, "p95": s.p95} for name, s in self.stages.items()},
            "notes": self.notes,
            "questions": [_question(each) for each in self.asked],
        }

    def _figures(self, quality: Quality) -> dict[str, float]:
        return {
            f"ndcg@{CUT}": quality.ndcg,
            f"mrr@{CUT}": quality.mrr,
            **{f"recall@{k}": quality.recall[k] for k in self.cuts},
            "degraded": quality.degraded,
            "silent": quality.silent,
        }


def summarise(
    dataset: str,
    asked: Sequence[Asked],
    cuts: Sequence[int],
    facts: Mapping[str, object],
    notes: Sequence[str],
) -> Report:
    """The figures over all questions, of which there is at least one."""
    languages = Counter(each.language for each in asked).most_common()
    shown = ", ".join(f"{code} {count}" for code, count in languages)
    runs = list(asked[0].rankings)
    return Report(
        dataset,
        {**facts, "questions": len(asked), "languages": shown},
        cuts,
        {run: quality(asked, run, max(*cuts, CUT)) for run in runs},
        stages(asked),
        asked,
        notes,
    )


def quality(asked: Sequence[Asked], run: str, deepest: int) -> Quality:
    """One run's means."""
    judged = [(each.rankings[run], each.query.relevant) for each in asked]
    return Quality(
        ndcg=fmean(ndcg(ranking, relevant, CUT) for ranking, relevant in judged),
        mrr=fmean(reciprocal_rank(ranking, relevant, CUT) for ranking, relevant in judged),
        recall={
            k: fmean(recall(ranking, relevant, k) for ranking, relevant in judged)
            for k in range(1, deepest + 1)
        },
        degraded=sum(bool(each.degraded[run]) for each in asked),
        silent=sum(not ranking for ranking, _ in judged),
    )


def stages(asked: Sequence[Asked]) -> dict[str, Stage]:
    """Times by stage, the total last."""
    names = dict.fromkeys(name for each in asked for name in each.timings_ms if name != TOTAL)
    times = {
        name: [each.timings_ms[name] for each in asked if name in each.timings_ms]
        for name in (*names, TOTAL)
    }
    return {name: Stage(percentile(ms, 0.5), percentile(ms, 0.95)) for name, ms in times.items()}


def first(asked: Asked, run: str) -> int | None:
    """The rank of the first relevant document in one run."""
    return first_relevant(asked.rankings[run], asked.query.relevant)


def _question(asked: Asked) -> dict[str, Any]:
    return {
        "id": asked.query.id,
        "language": asked.language,
        "first_relevant": {run: first(asked, run) for run in asked.rankings},
    }
