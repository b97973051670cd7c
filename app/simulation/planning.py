"""What the costs alone say: how much each tier holds, which one gives way first, how many it takes.

The utilisation law: a tier that spends s seconds on a question is busy for s × the questions a
second, whatever the questions wait for.
"""

from collections.abc import Mapping
from math import ceil

from app.simulation.costs import Costs
from app.simulation.service import TIERS, Fleet, Traffic, token_cost

# What is called busy enough: beyond it a short queue becomes a long one at the next peak.
UTILISATION = 0.7


def seconds_a_question(costs: Costs, traffic: Traffic) -> Mapping[str, float]:
    """Of one of each tier (of a model's server: of one answer's place), on average."""
    hit, new = traffic.hit_rate, 1 - traffic.hit_rate
    relayed = traffic.answer_tokens * token_cost(costs, traffic.model)
    return {
        "nginx": costs["nginx"],
        "api": hit * costs["api_cached"] + new * (costs.api_new + relayed),
        "redis": hit * costs["redis_cached"] + new * costs["redis_new"],
        "postgres": hit * costs["postgres_cached"] + new * costs["postgres_new"],
        "encoder": new / costs["encoder_rate"],  # in full batches, as it works when it is busy
        "model": new * traffic.model.seconds(traffic.answer_tokens),
    }


def holds(costs: Costs, traffic: Traffic) -> Mapping[str, float]:
    """Questions a second that one of each tier could answer without a pause; a tier that these
    questions do not need is not there."""
    seconds = seconds_a_question(costs, traffic)
    places = {tier: traffic.model.streams if tier == "model" else 1 for tier in TIERS}
    return {tier: places[tier] / seconds[tier] for tier in TIERS if seconds[tier] > 0}


def first_to_saturate(costs: Costs, traffic: Traffic, fleet: Fleet) -> tuple[str, float]:
    """The tier that gives way first, and at how many questions a second."""
    most = {tier: each * fleet.of(tier) for tier, each in holds(costs, traffic).items()}
    tier = min(most, key=most.__getitem__)
    return tier, most[tier]


def needed(
    costs: Costs, traffic: Traffic, per_second: float, utilisation: float = UTILISATION
) -> Fleet:
    """How many of each tier are at most so busy at so many questions a second."""
    counts = {
        tier: max(1, ceil(per_second / each / utilisation))
        for tier, each in holds(costs, traffic).items()
    }
    return Fleet().with_(**counts)
