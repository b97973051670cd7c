"""Which limits a request meets, and what a caller is told of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.chat.model import Scope
from app.errors import RateLimited
from app.limits.bucket import WINDOW_SECONDS, Level

Kind = Literal["requests", "tokens", "streams"]
Who = Literal["user", "key", "tenant"]

# How soon a place among the streams may be free is not known; most answers take seconds.
STREAM_WAIT_SECONDS = 1.0
SENTENCES: Mapping[str, str] = {
    "requests": "There were too many requests of this {who} in the last minute",
    "tokens": "This {who} has used up its models' tokens of this minute",
    "streams": "This {who} has as many answers on their way at the same time as it may have",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one caller or one tenant; 0 is none. `cost_per_day` is in the currency of the prices."""

    requests_per_minute: int = 0
    streams: int = 0
    tokens_per_minute: int = 0
    cost_per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What each user, each API key that is no user's, and each tenant as a whole may use."""

    user: Limit = Limit()
    key: Limit = Limit()
    tenant: Limit = Limit()

    def of(self, scope: Scope) -> Sequence[tuple[Who, Limit]]:
        """Those that count for a caller. Whoever is neither a user nor a key (the owner of a
        server without credentials, the service itself) counts for the tenant alone."""
        who = scope.subject.partition(":")[0]
        own: dict[str, tuple[Who, Limit]] = {"user": ("user", self.user), "key": ("key", self.key)}
        return [own[who], ("tenant", self.tenant)] if who in own else [("tenant", self.tenant)]

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return any(each != Limit() for each in (self.user, self.key, self.tenant))


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit that a request meets, and how much of it the request wants. `subject` is the
    caller's, or "tenant" for all of the tenant."""

    kind: Kind
    who: Who
    subject: str
    limit: int
    amount: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A rule, and how it stands after the request was let in or refused."""

    rule: Rule
    level: Level


def rules(
    limits: Limits, scope: Scope, *, requests: int = 0, tokens: int = 0, streams: int = 0
) -> list[Rule]:
    """The rules that a request of this caller meets, which wants so much of each. Pure."""
    found = []
    for who, limit in limits.of(scope):
        subject = "tenant" if who == "tenant" else scope.subject
        wanted: list[tuple[Kind, int, int]] = [
            ("requests", limit.requests_per_minute, requests),
            ("tokens", limit.tokens_per_minute, tokens),
            ("streams", limit.streams, streams),
        ]
        found += [Rule(kind, who, subject, most, amount) for kind, most, amount in wanted
                  if most and amount]  # fmt: skip
    return found


def refusal(standings: Sequence[Standing]) -> Standing | None:
    """The one that keeps the request out for longest; None where it is let in. Pure."""
    refused = [each for each in standings if not each.level.allowed]
    return max(refused, key=lambda each: each.level.wait_seconds, default=None)


def error(refused: Standing) -> RateLimited:
    """What a refused caller is told. Pure."""
    seconds = max(1, math.ceil(refused.level.wait_seconds))
    sentence = SENTENCES[refused.rule.kind].format(who=refused.rule.who)
    again = f"try again in {seconds} s" if refused.rule.kind != "streams" else "wait for one to end"
    return RateLimited(f"{sentence}; {again}.", retry_after=float(seconds))


def headers(standings: Sequence[Standing]) -> dict[str, str]:
    """The `RateLimit` fields of a response (IETF draft-ietf-httpapi-ratelimit-headers, its form
    with three): of the limit that refused it, or else of the one of which least is left, requests
    before all else, since who paces himself counts those. Pure."""
    shown = refusal(standings) or min(standings, key=_closeness, default=None)
    if shown is None:
        return {}
    told = {
        "RateLimit-Limit": str(shown.rule.limit),
        "RateLimit-Remaining": str(shown.level.remaining),
        "RateLimit-Reset": str(math.ceil(shown.level.reset_seconds)),
    }
    policies = [_policy(each.rule) for each in standings if each.rule.kind != "streams"]
    return {**told, "RateLimit-Policy": ", ".join(policies)} if policies else told


def _policy(rule: Rule) -> str:
    return f'{rule.limit};w={WINDOW_SECONDS:.0f};comment="{rule.kind} of the {rule.who}"'


def _closeness(standing: Standing) -> tuple[bool, float]:
    rule = standing.rule
    return rule.kind != "requests", standing.level.remaining / rule.limit
