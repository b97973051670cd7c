"""How long measuring may still go on."""

import time
from collections.abc import Callable


class Patience:
    """A number of seconds from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds, none or more."""
        return max(0.0, self._end - self._clock())

    def has(self, seconds: float) -> bool:
        """Whether there are so many left."""
        return self.left() >= seconds
