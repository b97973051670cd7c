import pytest

from app.encoder.padding import split


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
