"""A bucket that holds a minute's worth and fills evenly: the generic cell rate algorithm.

Of a bucket one number is kept: when it will be full again (the theoretical arrival time of ITU-T
I.371). So there is nothing to fill while nobody asks, and one that is full needs no entry.
"""

from dataclasses import dataclass

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Level:
    """How a limit stands. `remaining` can be had at once, `reset_seconds` until all of it can,
    `wait_seconds` until what was asked for can; 0 where it was allowed."""

    allowed: bool
    remaining: int
    reset_seconds: float
    wait_seconds: float


def take(full_at: float, now: float, limit: int, amount: int) -> tuple[float, Level]:
    """Take `amount` out of a bucket of `limit` that is full at `full_at`; when it is full then.
    Pure. What is refused changes nothing.

    Who asks for more than the bucket holds is let in when it is full, and pays it off afterwards:
    else he would never be.
    """
    each = WINDOW_SECONDS / limit
    full_at = max(full_at, now)
    wait = full_at + min(amount, limit) * each - WINDOW_SECONDS - now
    # A clock's rounding must not cost the last one of a minute's worth.
    allowed = wait <= each * 1e-6
    if allowed:
        full_at += amount * each
    return full_at, level(full_at, now, limit, 0.0 if allowed else wait)


def level(full_at: float, now: float, limit: int, wait_seconds: float = 0.0) -> Level:
    """How a bucket stands that is full at `full_at`. Pure."""
    missing = max(0.0, full_at - now)
    remaining = max(0, int((WINDOW_SECONDS - missing) * limit / WINDOW_SECONDS + 1e-6))
    return Level(wait_seconds <= 0, remaining, missing, max(0.0, wait_seconds))
