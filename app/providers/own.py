"""Connections to what agents bring along: a key or an address of their own.

They are made when they are first needed, and let go of when others are needed more or nobody has
used them for a while: with a connection goes the key that it sends.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.outgoing.guard import Guard
from app.providers.breaker import Breaker
from app.providers.mistral import MistralProvider
from app.providers.openai import OpenAIProvider
from app.vault.agent_keys import AgentKeys
from app.vault.sealing import Vault

Vendor: TypeAlias = OpenAIProvider | MistralProvider

# At a time and process. Each is a few kilobytes, and 100 KB for each idle connection over TLS.
MOST = 200
IDLE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Own:
    """What it takes to use what agents bring along: their keys, where these may be sent, and each
    provider's model for agents that name none."""

    keys: AgentKeys = field(default_factory=lambda: AgentKeys(Vault()))
    guard: Guard = field(default_factory=Guard)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Destination:
    """One provider at one address with one key, for one tenant: what another one does with the
    same server takes none of its connections and does not open its breaker."""

    provider: str
    tenant_id: int
    base_url: str | None
    key: str = field(repr=False)

    def fingerprint(self) -> tuple[str, int, str | None, bytes]:
        """Tells it from others, and does not hold the key."""
        digest = hashlib.sha256(self.key.encode()).digest()
        return self.provider, self.tenant_id, self.base_url, digest


@dataclass(slots=True)
class Connected:
    vendor: Vendor
    breaker: Breaker
    used: float


class OwnConnections:
    """A client and a breaker for each destination that was used lately."""

    def __init__(
        self,
        connect: Callable[[Destination], Vendor],
        breaker: Callable[[str], Breaker],
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST,
    ) -> None:
        self._connect = connect
        self._breaker = breaker
        self._clock = clock
        self._most = most
        self._latest: OrderedDict[tuple[str, int, str | None, bytes], Connected] = OrderedDict()
        self._leaving: list[Vendor] = []

    def of(self, destination: Destination) -> Connected:
        """The same one for the same destination, as long as it is in use."""
        name, now = destination.fingerprint(), self._clock()
        found = self._latest.get(name)
        if found is None:
            vendor = self._connect(destination)
            found = self._latest[name] = Connected(vendor, self._breaker(destination.provider), now)
        found.used = now
        self._latest.move_to_end(name)
        self._let_go(now - IDLE_SECONDS)
        return found

    def statistics(self) -> dict[str, int]:
        """Of all connections together."""
        total: dict[str, int] = {}
        for each in (*(each.vendor for each in self._latest.values()), *self._leaving):
            for name, number in each.statistics().items():
                total[name] = total.get(name, 0) + number
        return total

    async def aclose(self) -> None:
        for each in (*(each.vendor for each in self._latest.values()), *self._leaving):
            await each.aclose()

    def _let_go(self, since: float) -> None:
        """Of those beyond the most there may be, and of those that were not used since. An answer
        that is on its way there comes to its end."""
        self._leaving = [each for each in self._leaving if each.statistics()["open"]]
        while len(self._latest) > self._most or next(iter(self._latest.values())).used < since:
            _, oldest = self._latest.popitem(last=False)
            oldest.vendor.retire()
            self._leaving.append(oldest.vendor)
