import pytest

from app.encoder.pace import MAX_PAUSE_SECONDS, MAX_RETRY_SECONDS, PAUSE_SHARE, Pace


def test_nothing_is_known_at_first() -> None:
    assert Pace().retry_after(10_000) == 1
    assert Pace().pause(0.0) == 0


def test_the_time_to_wait_is_the_work_by_the_rate() -> None:
    pace = Pace()
    pace.note(1000, 1, 0.0, 0.5)
    assert [pace.retry_after(tokens) for tokens in (0, 1000, 2000, 2001, 10_000)] == [1, 1, 1, 2, 5]
    assert pace.retry_after(10**9) == MAX_RETRY_SECONDS


def test_the_rate_follows_what_the_model_does() -> None:
    pace = Pace()
    pace.note(1000, 1, 0.0, 0.1)
    for _ in range(50):
        pace.note(1000, 1, 0.0, 1.0)
    assert 1000 <= pace.tokens_per_second < 1100


def test_a_batch_in_no_time_is_no_division_by_zero() -> None:
    pace = Pace()
    pace.note(10, 1, 5.0, 5.0)
    assert pace.retry_after(10) == 1


@pytest.mark.parametrize(
    ("requests", "seconds", "later", "pause"),
    [
        (1, 0.05, 0.0, 0.0),  # who is alone never waits
        (2, 0.05, 0.0, 0.05 * PAUSE_SHARE),
        (64, 0.1, 0.0, 0.1 * PAUSE_SHARE),  # the longer the batch, the longer the pause
        (64, 0.1, 0.001, 0.1 * PAUSE_SHARE - 0.001),
        (64, 0.1, 0.1, 0.0),  # nobody came for a while
        (64, 60.0, 0.0, MAX_PAUSE_SECONDS),
    ],
)
def test_the_pause_is_for_a_crowd_only(
    requests: int, seconds: float, later: float, pause: float
) -> None:
    pace = Pace()
    pace.note(1000, requests, 10.0, 10.0 + seconds)
    assert pace.pause(10.0 + seconds + later) == pytest.approx(pause)
