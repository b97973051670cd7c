"""What limits ask of the outside: counters of all processes, and what was spent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

from app.chat.model import Scope
from app.limits.rules import Rule, Standing


class Counts(Protocol):
    """The counters that all processes share. They may be away at any moment."""

    async def take(
        self, tenant_id: int, rules: Sequence[Rule], lease: str
    ) -> Sequence[Standing] | None:
        """Take what the rules want, all of it or nothing; how each stands then. None while nobody
        can say. A rule for streams is taken by `lease`, which ends by itself unless it is kept."""
        ...

    async def adjust(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        """Take what the rules want, whatever there is; a negative amount is given back."""
        ...

    async def keep(self, tenant_id: int, leases: Mapping[str, Sequence[Rule]]) -> None:
        """These streams go on."""
        ...

    async def end(self, tenant_id: int, rules: Sequence[Rule], lease: str) -> None:
        """This stream has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Spent:
    """What one answer has taken of a model. `id` names it, so that it counts once however often it
    is told, and names what was reserved for it."""

    id: UUID
    subject: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What a caller has taken of a model on one day (UTC); `answers` were produced by it."""

    day: date
    subject: str
    model: str
    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Ledger(Protocol):
    """What was spent on models, and what is reserved to be."""

    async def reserve(
        self, scope: Scope, reservation: UUID, cost: float, own: float | None, tenant: float | None
    ) -> bool:
        """Set a cost aside where the day's bounds for the caller and for the tenant leave room for
        it; None is no bound. False, and nothing set aside, where they do not. What is not settled
        in time is free again."""
        ...

    async def settle(self, tenant_id: int, spent: Sequence[Spent]) -> None:
        """Take these into account, each once, in the place of what was reserved for them."""
        ...

    async def daily(self, scope: Scope, days: int) -> Sequence[DayOfUse]:
        """What the tenant has taken today and on the days before, latest first."""
        ...
