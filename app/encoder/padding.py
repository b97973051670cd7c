"""Which texts of a batch go through the model together, so that little of its work is padding, and
all lanes have some of it. Pure."""

from collections.abc import Sequence

# What starting the model once more costs, in tokens. Of 64 questions at a time two cores encoded
# 551 a second in one run, 686 with 16 here, 763 with 64 and 689 with 128 (ONNX Runtime; torch is
# like it). A GPU is not filled by thousands.
RUN_COST = {"cpu": 64, "cuda": 8192}


def split(lengths: Sequence[int], run_cost: int) -> list[list[int]]:
    """The indices of the texts in runs, longest first: a run ends where what shorter texts would
    be padded with costs more than one run more.

    Of 64 questions of 6 to 15 tokens a third is padding in one run, a tenth in four.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    runs: list[list[int]] = []
    longest = 0
    for place, index in enumerate(order):
        saved = (longest - lengths[index]) * (len(order) - place)
        if not runs or saved > run_cost:
            runs.append([])
            longest = lengths[index]
        runs[-1].append(index)
    return runs


def share(
    runs: Sequence[Sequence[int]], lengths: Sequence[int], run_cost: int, lanes: int
) -> list[Sequence[int]]:
    """The runs for so many lanes that do one after another: those with more than a lane's share of
    the work are cut, but not into parts of much less than what one run more costs."""
    works = [len(run) * lengths[run[0]] for run in runs]
    part = max(run_cost, sum(works) / lanes)
    parts = []
    for run, work in zip(runs, works, strict=True):
        size = -(-len(run) // max(1, round(work / part)))
        parts += [run[start : start + size] for start in range(0, len(run), size)]
    return parts
