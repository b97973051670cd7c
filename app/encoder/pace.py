"""How fast the model is, learnt from what it has done. Pure: the clock's readings come from
outside."""

import math
from dataclasses import dataclass

# Of a new batch in the average: some ten batches and a changed load is known.
WEIGHT = 0.1
# Nobody should come back sooner than this, nor be sent away for longer.
MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 60


@dataclass(slots=True)
class Pace:
    """Tokens a second, as a moving average of the batches."""

    tokens_per_second: float = 0.0

    def note(self, tokens: int, seconds: float) -> None:
        """Note a batch of this size and time."""
        rate = tokens / max(seconds, 1e-6)
        before = self.tokens_per_second
        self.tokens_per_second = before + WEIGHT * (rate - before) if before else rate

    def retry_after(self, tokens: int) -> int:
        """Whole seconds until so many tokens are encoded; the least before anything is known."""
        rate = self.tokens_per_second
        seconds = math.ceil(tokens / rate) if rate else MIN_RETRY_SECONDS
        return min(max(seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
