"""A circuit breaker: a provider that keeps failing is left alone until one call finds it back.

Closed, open, half open, closed again. It counts attempts that failed before their first token; what
happens to an answer later says little about the next call. No I/O but one log line a state change.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half open"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Opens after `failures` in a row within `window_seconds`; lets one call through, as a probe,
    `open_seconds` later."""

    failures: int = 5
    window_seconds: float = 60.0
    open_seconds: float = 10.0


class Breaker:
    """The state of one provider at one address with one key. `name` is what its log lines say."""

    def __init__(self, name: str, limits: BreakerLimits, clock: Callable[[], float]) -> None:
        self.state = CLOSED
        self._name = name
        self._limits = limits
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=limits.failures)
        self._opened = 0.0
        self._probing = False
        self._changes = 0

    def remaining(self) -> float:
        """Seconds until a call may be let through, 0 where one is now; while a probe is out, as
        long as if it failed."""
        if self.state == CLOSED:
            return 0.0
        if self.state == HALF_OPEN:
            return self._limits.open_seconds if self._probing else 0.0
        return max(0.0, self._opened + self._limits.open_seconds - self._clock())

    def admit(self) -> int | None:
        """A ticket for one call, to be given back with `settle`; None where it is refused."""
        if self.remaining() > 0:
            return None
        if self.state == OPEN:
            self._become(HALF_OPEN)
        self._probing = self.state == HALF_OPEN
        return self._changes

    def settle(self, ticket: int, worked: bool | None) -> None:
        """How an admitted call went; None says nothing (its reader left before it could tell).

        Calls from before the last change of state do not count: they tell of an earlier time.
        """
        if ticket != self._changes:
            return
        self._probing = False
        if worked is None:
            return
        if worked:
            self._failures.clear()
            if self.state != CLOSED:
                self._become(CLOSED)
        elif self.state == HALF_OPEN or self._exceeded():
            self._failures.clear()
            self._opened = self._clock()
            self._become(OPEN)

    def _exceeded(self) -> bool:
        now = self._clock()
        self._failures.append(now)
        full = len(self._failures) == self._limits.failures
        return full and now - self._failures[0] <= self._limits.window_seconds

    def _become(self, state: str) -> None:
        level = logging.WARNING if state == OPEN else logging.INFO
        log.log(level, "provider breaker", provider=self._name, state=state, before=self.state)
        self.state = state
        self._changes += 1


class Breakers:
    """One breaker for each provider, address and key. It keeps a digest of the key, not the key."""

    def __init__(self, limits: BreakerLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._known: dict[tuple[str, str | None, bytes], Breaker] = {}

    def of(self, provider: str, address: str | None = None, key: str = "") -> Breaker:
        """The same one for the same three."""
        digest = hashlib.sha256(key.encode()).digest()
        named = (provider, address, digest)
        if named not in self._known:
            self._known[named] = Breaker(provider, self._limits, self._clock)
        return self._known[named]
