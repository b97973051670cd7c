from app.encoder.pace import MAX_RETRY_SECONDS, Pace


def test_nothing_is_known_at_first() -> None:
    assert Pace().retry_after(10_000) == 1


def test_the_time_to_wait_is_the_work_by_the_rate() -> None:
    pace = Pace()
    pace.note(1000, 0.5)
    assert [pace.retry_after(tokens) for tokens in (0, 1000, 2000, 2001, 10_000)] == [1, 1, 1, 2, 5]
    assert pace.retry_after(10**9) == MAX_RETRY_SECONDS


def test_the_rate_follows_what_the_model_does() -> None:
    pace = Pace()
    pace.note(1000, 0.1)
    for _ in range(50):
        pace.note(1000, 1.0)
    assert 1000 <= pace.tokens_per_second < 1100


def test_a_batch_in_no_time_is_no_division_by_zero() -> None:
    pace = Pace()
    pace.note(10, 0.0)
    assert pace.retry_after(10) == 1
