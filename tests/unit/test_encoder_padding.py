import pytest

from app.encoder.padding import share, split


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([], []),
        ([5], [[0]]),
        ([5, 5, 5], [[0, 1, 2]]),
        ([5, 6, 5], [[1, 0, 2]]),  # one token of padding is cheaper than a run
        ([5, 100, 5], [[1], [0, 2]]),
        ([10, 200, 9, 190], [[1, 3], [0, 2]]),
        ([100, 80, 60, 40], [[0], [1], [2, 3]]),
    ],
)
def test_runs_of_like_length(lengths: list[int], runs: list[list[int]]) -> None:
    assert split(lengths, run_cost=30) == runs


def test_every_text_is_in_one_run_and_padding_shrinks() -> None:
    lengths = [6 + 7 * number % 10 for number in range(64)]
    runs = split(lengths, run_cost=64)
    assert sorted(index for run in runs for index in run) == list(range(64))
    padded = sum(len(run) * max(lengths[index] for index in run) for run in runs)
    assert sum(lengths) <= padded < 0.85 * 64 * max(lengths)


def test_a_device_with_room_makes_one_run() -> None:
    assert len(split([1, 500, 20, 7], run_cost=8192)) == 1


@pytest.mark.parametrize(
    ("lengths", "runs", "parts"),
    [
        ([], [], []),
        ([5], [[0]], [[0]]),
        ([50, 50, 50, 50], [[0, 1, 2, 3]], [[0, 1], [2, 3]]),
        ([50, 40, 50], [[0, 2, 1]], [[0, 2], [1]]),
        ([5, 5, 5, 5], [[0, 1, 2, 3]], [[0, 1, 2, 3]]),  # less than a run costs
        ([500], [[0]], [[0]]),  # one text is in one run
        ([90, 50, 50], [[0], [1, 2]], [[0], [1, 2]]),  # as even as it can be
        ([90, 30, 30, 30], [[0], [1, 2, 3]], [[0], [1, 2, 3]]),
        ([60, *[30] * 9], [[0], [*range(1, 10)]], [[0], [*range(1, 6)], [*range(6, 10)]]),
    ],
)
def test_runs_are_cut_for_two_lanes(
    lengths: list[int], runs: list[list[int]], parts: list[list[int]]
) -> None:
    assert share(runs, lengths, 30, 2) == parts


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
def test_lanes_have_every_text_once_and_hardly_more_runs_than_there_are(lanes: int) -> None:
    lengths = [6 + 7 * number % 40 for number in range(64)]
    runs = split(lengths, run_cost=64)
    parts = share(runs, lengths, 64, lanes)
    assert [index for part in parts for index in part] == [index for run in runs for index in run]
    assert len(parts) <= len(runs) + lanes
    if lanes == 1:
        assert parts == runs
