"""Tokens and their cost by agent, with a bound on how many agents have a name."""

import pytest

from app.chat.measuring import Measuring
from app.errors import ProviderTimeout
from app.performance import PerformanceMonitor
from app.performance.tokens import NAMED_AGENTS, TokenCounts
from tests.support.core import SCOPE, Core, ScriptedProvider, ticking


def test_tokens_and_costs_add_up_by_agent_and_provider() -> None:
    counts = TokenCounts({"large": (2.0, 8.0)})
    counts.spent(1, "openai", "large", 1_000_000, 500_000)
    counts.spent(1, "openai", "unpriced", 10, 5)
    counts.spent(2, "mistral", "unpriced", 7, 3)
    assert counts.tokens() == {
        ("1", "openai", "prompt"): 1_000_010,
        ("1", "openai", "completion"): 500_005,
        ("2", "mistral", "prompt"): 7,
        ("2", "mistral", "completion"): 3,
    }
    assert counts.costs() == {("1", "openai"): pytest.approx(6.0)}


def test_agents_beyond_the_bound_share_a_name_and_none_moves() -> None:
    counts = TokenCounts({})
    for agent in range(NAMED_AGENTS + 20):
        counts.spent(agent, "openai", "large", 1, 0)
    for agent in (0, NAMED_AGENTS + 5):
        counts.spent(agent, "openai", "large", 1, 0)
    tokens = {
        agent: count for (agent, _, kind), count in counts.tokens().items() if kind == "prompt"
    }
    assert len(tokens) == NAMED_AGENTS + 1
    assert tokens["0"] == 2
    assert tokens["other"] == 21


async def test_an_answer_is_paid_for_once_and_a_cached_one_not_again() -> None:
    monitor, core = PerformanceMonitor(ticking()), Core()
    engine = core.engine(Measuring(monitor, 60))
    first = await engine.ask("What is Atlas?", scope=SCOPE)
    spent = dict(monitor.tokens.tokens())
    assert (
        sum(spent.values()) == first.done.usage.prompt_tokens + first.done.usage.completion_tokens
    )
    assert (await engine.ask("What is Atlas?", scope=SCOPE)).done.cached
    assert monitor.tokens.tokens() == spent
    await engine.close()


async def test_what_was_said_before_a_failure_is_paid_for() -> None:
    monitor = PerformanceMonitor(ticking())
    core = Core(provider=ScriptedProvider(["The map "], error=ProviderTimeout()))
    engine = core.engine(Measuring(monitor, 60))
    with pytest.raises(ProviderTimeout):
        await engine.ask("What is Atlas?", scope=SCOPE)
    await engine.close()
    assert all(count > 0 for count in monitor.tokens.tokens().values())
    assert len(monitor.tokens.tokens()) == 2
