"""The counters of limits in Redis, shared by all processes: one script for all of a request's.

Keys carry their tenant as a hash tag, so that a cluster keeps them together, and end by themselves.
The clock is the server's own: processes' clocks differ.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from app.limits.bucket import Level
from app.limits.limiter import LEASE_SECONDS
from app.limits.rules import STREAM_WAIT_SECONDS, Rule, Standing
from app.stores.redis_cache import RedisCache
from app.stores.redis_line import Command

# Leases kept by one command: a script holds up everybody else's.
LEASES_AT_ONCE = 500

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
"""
_FULL_AT = "math.max(tonumber(redis.call('GET', key) or 0), now)"
# As app.limits.bucket.take has it, in milliseconds; a test runs both. ARGV: the lease, how long it
# lasts, and of each key its kind, limit and amount. Nothing is taken before all are looked at.
TAKE = f"""{_NOW}
local told, taken, all = {{}}, {{}}, true
for i, key in ipairs(KEYS) do
    local kind, limit, amount = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
    if kind == 'streams' then
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        local open = redis.call('ZCARD', key)
        local allowed = open < limit
        told[i] = {{allowed and 1 or 0, allowed and limit - open - 1 or 0, 0, 0}}
        all = all and allowed
    else
        local each = 60000 / limit
        local full_at = {_FULL_AT}
        local wait = full_at + math.min(amount, limit) * each - 60000 - now
        local allowed = wait <= each * 1e-6
        if allowed then
            full_at, wait = full_at + amount * each, 0
        end
        taken[i] = full_at
        local missing = full_at - now
        local remaining = math.max(0, math.floor((60000 - missing) * limit / 60000 + 1e-6))
        told[i] = {{allowed and 1 or 0, remaining, math.ceil(missing), math.ceil(wait)}}
        all = all and allowed
    end
end
if all then
    for i, key in ipairs(KEYS) do
        if taken[i] then
            local left = math.ceil(taken[i] - now) + 1
            redis.call('SET', key, string.format('%.3f', taken[i]), 'PX', left)
        else
            redis.call('ZADD', key, string.format('%.0f', now + ARGV[2]), ARGV[1])
            redis.call('PEXPIRE', key, 2 * ARGV[2])
        end
    end
end
return told
"""
# ARGV: of each key its limit and the amount.
ADJUST = f"""{_NOW}
for i, key in ipairs(KEYS) do
    local full_at = {_FULL_AT} + ARGV[2 * i] * 60000 / ARGV[2 * i - 1]
    if full_at > now then
        local left = math.ceil(full_at - now) + 1
        redis.call('SET', key, string.format('%.3f', full_at), 'PX', left)
    else
        redis.call('DEL', key)
    end
end
"""
# ARGV: how long they last, and of each key a lease.
KEEP = f"""{_NOW}
for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%.0f', now + ARGV[1]), ARGV[i + 1])
    redis.call('PEXPIRE', key, 2 * ARGV[1])
end
"""


class RedisCounts:
    """`app.limits.ports.Counts` beside the cache, whose connection and breaker it shares."""

    def __init__(
        self, cache: RedisCache, installation: str, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """`installation` tells this service's keys from those of others on the same server."""
        self._cache = cache
        self._installation = installation
        self._lease_ms = int(lease_seconds * 1000)

    async def take(
        self, tenant_id: int, rules: Sequence[Rule], lease: str
    ) -> Sequence[Standing] | None:
        wanted = [value for each in rules for value in (each.kind, each.limit, each.amount)]
        replies = await self._cache.ask(
            (
                "EVAL",
                TAKE,
                len(rules),
                *self._keys(tenant_id, rules),
                lease,
                self._lease_ms,
                *wanted,
            )
        )
        if replies is None:
            return None
        return [_standing(*each) for each in zip(rules, replies[0], strict=True)]

    async def adjust(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        wanted = [value for each in rules for value in (each.limit, each.amount)]
        keys = self._keys(tenant_id, rules)
        await self._cache.ask(("EVAL", ADJUST, len(keys), *keys, *wanted))

    async def keep(self, tenant_id: int, leases: Mapping[str, Sequence[Rule]]) -> None:
        held = iter([(rule, lease) for lease, rules in leases.items() for rule in rules])
        while some := list(islice(held, LEASES_AT_ONCE)):
            keys = self._keys(tenant_id, [rule for rule, _ in some])
            kept = [lease for _, lease in some]
            await self._cache.ask(("EVAL", KEEP, len(keys), *keys, self._lease_ms, *kept))

    async def end(self, tenant_id: int, rules: Sequence[Rule], lease: str) -> None:
        keys = self._keys(tenant_id, rules)
        commands: list[Command] = [("ZREM", key, lease) for key in keys]
        await self._cache.ask(*commands)

    def _keys(self, tenant_id: int, rules: Sequence[Rule]) -> list[str]:
        before = f"limits:{{{tenant_id}}}:{self._installation}"
        return [f"{before}:{each.kind}:{each.subject}" for each in rules]


def _standing(rule: Rule, told: Sequence[int]) -> Standing:
    allowed, remaining, reset_ms, wait_ms = told
    if rule.kind == "streams":
        wait = 0.0 if allowed else STREAM_WAIT_SECONDS
        return Standing(rule, Level(bool(allowed), remaining, STREAM_WAIT_SECONDS, wait))
    return Standing(rule, Level(bool(allowed), remaining, reset_ms / 1000, wait_ms / 1000))
