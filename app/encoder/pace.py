"""How fast the model is, learnt from what it has done, and how long to wait for company. Pure: the
clock's readings come from outside."""

import math
from dataclasses import dataclass

# Of a new batch in the average: some ten batches and a changed load is known.
WEIGHT = 0.1
# Nobody should come back sooner than this, nor be sent away for longer.
MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 60
# Whoever has just been answered asks again in a moment, and a batch that begins at once leaves
# them out. Of 64 clients on two cores 6 % more were served with a pause of 2 ms between batches of
# some 50 ms, on both backends, no more with 5 ms, and none with 15 ms.
PAUSE_SHARE = 0.04
MAX_PAUSE_SECONDS = 0.005


@dataclass(slots=True)
class Pace:
    """Tokens a second, as a moving average of the batches; and what the last one was like."""

    tokens_per_second: float = 0.0
    _next: float = -math.inf

    def note(self, tokens: int, requests: int, start: float, end: float) -> None:
        """Note a batch: its tokens, the requests that shared it, when it began and ended."""
        seconds = end - start
        rate = tokens / max(seconds, 1e-6)
        before = self.tokens_per_second
        self.tokens_per_second = before + WEIGHT * (rate - before) if before else rate
        pause = min(PAUSE_SHARE * seconds, MAX_PAUSE_SECONDS) if requests > 1 else 0.0
        self._next = end + pause

    def pause(self, now: float) -> float:
        """Seconds until the next batch should begin: none for who comes alone, none after a batch
        of one request, and else a share of the time that the last one took."""
        return max(0.0, self._next - now)

    def retry_after(self, tokens: int) -> int:
        """Whole seconds until so many tokens are encoded; the least before anything is known."""
        rate = self.tokens_per_second
        seconds = math.ceil(tokens / rate) if rate else MIN_RETRY_SECONDS
        return min(max(seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
