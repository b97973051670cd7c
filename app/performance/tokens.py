"""What models were given and have said, by agent, and what it cost."""

from collections import Counter
from collections.abc import Mapping

PROMPT, COMPLETION = "prompt", "completion"
# A label's values must have a bound, and a counter must never move from one to another: the first
# agents that a process answers for have a name, and the rest share one.
NAMED_AGENTS = 100
OTHER = "other"
# Prices are for so many tokens, as vendors give them.
PRICED_TOKENS = 1_000_000

Prices = Mapping[str, tuple[float, float]]
"""By model, of a million tokens of a prompt and of an answer."""


class TokenCounts:
    """Of one process since its start. A model without a price costs nothing."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._named: set[int] = set()
        self._tokens: Counter[tuple[str, str, str]] = Counter()
        self._costs: Counter[tuple[str, str]] = Counter()

    def spent(self, agent: int, provider: str, model: str, prompt: int, completion: int) -> None:
        """Note the tokens of an answer that a model was asked for."""
        name = self._name(agent)
        self._tokens[name, provider, PROMPT] += prompt
        self._tokens[name, provider, COMPLETION] += completion
        if (price := self._prices.get(model)) is not None:
            cost = (prompt * price[0] + completion * price[1]) / PRICED_TOKENS
            self._costs[name, provider] += cost  # type: ignore[assignment]

    def tokens(self) -> Mapping[tuple[str, str, str], int]:
        """By agent, provider and kind: "prompt" or "completion"."""
        return self._tokens

    def costs(self) -> Mapping[tuple[str, str], float]:
        """By agent and provider, in the currency of the prices."""
        return self._costs

    def _name(self, agent: int) -> str:
        if agent not in self._named:
            if len(self._named) >= NAMED_AGENTS:
                return OTHER
            self._named.add(agent)
        return str(agent)
