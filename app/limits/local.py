"""This process's own counters, for while those of all processes are away."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.limits.bucket import Level, take
from app.limits.rules import STREAM_WAIT_SECONDS, Rule, Standing

# A bucket that nobody takes from is full again within a minute, and then needs no entry; more
# callers than this at the same time are forgotten, oldest first.
MAX_BUCKETS = 20_000

Key = tuple[int, str, str]


class LocalCounts:
    """Counts for this process alone, up to its share of each limit."""

    def __init__(self, clock: Callable[[], float], share: int) -> None:
        """`clock` is monotonic, in seconds. Of each limit one `share`-th is allowed, and at least
        one."""
        self._clock = clock
        self._share = share
        self._full_at: OrderedDict[Key, float] = OrderedDict()
        self._streams: dict[Key, int] = {}

    def take(self, tenant_id: int, rules: Sequence[Rule]) -> Sequence[Standing]:
        """As `Counts.take`; whoever gets a stream calls `begin`."""
        now = self._clock()
        taken = [self._taken(tenant_id, self._shared(rule), now) for rule in rules]
        if all(standing.level.allowed for standing, _ in taken):
            for standing, full_at in taken:
                if standing.rule.kind != "streams":
                    self._put(_key(tenant_id, standing.rule), full_at)
        return [standing for standing, _ in taken]

    def adjust(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        """As `Counts.adjust`."""
        now = self._clock()
        for rule in map(self._shared, rules):
            key = _key(tenant_id, rule)
            full_at = max(self._full_at.get(key, now), now)
            self._put(key, full_at + rule.amount * 60.0 / rule.limit)

    def begin(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        """A stream of this process has begun, whoever has let it in."""
        for key in (_key(tenant_id, rule) for rule in rules):
            self._streams[key] = self._streams.get(key, 0) + 1

    def end(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        """It has ended."""
        for key in (_key(tenant_id, rule) for rule in rules):
            left = self._streams.pop(key) - 1
            if left:
                self._streams[key] = left

    def _shared(self, rule: Rule) -> Rule:
        return replace(rule, limit=max(1, rule.limit // self._share))

    def _taken(self, tenant_id: int, rule: Rule, now: float) -> tuple[Standing, float]:
        key = _key(tenant_id, rule)
        if rule.kind == "streams":
            open_now = self._streams.get(key, 0)
            return Standing(rule, stream_level(open_now, rule.limit)), 0.0
        full_at, level = take(self._full_at.get(key, now), now, rule.limit, rule.amount)
        return Standing(rule, level), full_at

    def _put(self, key: Key, full_at: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)


def stream_level(open_before: int, limit: int) -> Level:
    """How a limit of streams stands after one more was asked for. Pure."""
    allowed = open_before < limit
    remaining = limit - open_before - 1 if allowed else 0
    return Level(allowed, remaining, STREAM_WAIT_SECONDS, 0.0 if allowed else STREAM_WAIT_SECONDS)


def _key(tenant_id: int, rule: Rule) -> Key:
    return tenant_id, rule.kind, rule.subject
