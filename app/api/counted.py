"""What the services of one process have counted, and how they are, as series of metrics."""

from collections.abc import Mapping
from typing import Any

from app.api.services import Services
from app.performance.numbers import Series

ORIGINS = {
    "local_hits": "local_hit",
    "shared_hits": "shared_hit",
    "joined": "joined",
    "encoded": "encoded",
}
CACHES = ("answers", "passages", "semantic")
UNANSWERED = ("refused", "failed", "skipped")
LIMITED = ("requests", "streams", "tokens", "cost")
BREAKER = {"closed": 0, "half open": 1, "open": 2}
POOL_GAUGES = ("size", "open", "in_use", "waiting")
POOL_COUNTERS = ("acquired", "opened")


def counters(services: Services) -> Mapping[Series, float]:
    """What the process behind these services has counted since its start."""
    found: dict[Series, float] = {}
    for name, count in services.encoders.statistics().items():
        found["citestream_query_vectors", ORIGINS[name]] = count
    statistics = services.cache.statistics()
    for cache in CACHES:
        numbers = statistics[cache]
        found["citestream_cache_lookups", cache] = numbers["lookups"]
        found["citestream_cache_hits", cache, "local"] = numbers["local_hits"]
        found["citestream_cache_hits", cache, "shared"] = numbers["shared_hits"]
        found["citestream_cache_puts", cache] = numbers["puts"]
    for reason in UNANSWERED:
        found["citestream_redis_unanswered", reason] = statistics["redis"][reason]
    refused = services.limits.limiter.refused if services.limits else {}
    for reason in LIMITED:
        found["citestream_limited", reason] = refused.get(reason, 0)
    tokens = services.monitor.tokens
    for labels, count in tokens.tokens().items():
        found["citestream_tokens", *labels] = count
    for spenders, cost in tokens.costs().items():
        found["citestream_cost", *spenders] = cost
    for pool, connections in pools(services).items():
        for name in POOL_COUNTERS:
            if name in connections:
                found[f"citestream_pool_{name}", pool] = connections[name]
    return found


def gauges(services: Services) -> dict[Series, float]:
    """How the process behind these services is."""
    found: dict[Series, float] = {("citestream_active_runs",): len(services.engine.runs.active)}
    for role, is_available in services.encoders.availability().items():
        found["citestream_encoder_available", role] = is_available
    statistics = services.cache.statistics()
    state = statistics["redis"]["state"]
    found["citestream_redis_available",] = state == "ok"
    if state != "none":
        found["citestream_breaker_state", "redis"] = BREAKER[
            "open" if state == "away" else "closed"
        ]
    for provider, breaker in services.providers.breakers().items():
        found["citestream_breaker_state", provider] = BREAKER[breaker]
    found["citestream_local_cache_bytes",] = statistics["local"]["bytes"]
    found["citestream_local_cache_limit_bytes",] = statistics["local"]["limit_bytes"]
    for pool, connections in pools(services).items():
        for name in POOL_GAUGES:
            if name in connections:
                found[f"citestream_pool_{name}", pool] = connections[name]
    return found


def pools(services: Services) -> Mapping[str, Mapping[str, Any]]:
    """Connections by pool: to Postgres, Redis, the models' vendors and the encoder."""
    encoders = services.encoders.connections()
    return {
        **services.database.statistics(),
        **services.cache.connections(),
        **services.providers.statistics(),
        **{f"encoder_{role}": connections for role, connections in encoders.items()},
    }
