"""The encoders a process is configured with, by name, each from when its name is known."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from types import MappingProxyType

from app.chat.ports import Cache, Encoder, ExpectedVector
from app.encoder.awaited import AwaitedEncoder
from app.encoder.caching import CachingEncoder, Tracked, VectorCacheStatistics
from app.encoder.client import EncoderClient
from app.encoder.standby import StandbyEncoder
from app.errors import EncoderUnavailable


class ConfiguredEncoders(Mapping[str, Encoder]):
    """`app.chat.encoders.EncodersByName`, the preferred one first; their queries' vectors cached.

    A name that none has is a KeyError, but EncoderUnavailable while one has not told its own.
    """

    def __init__(
        self,
        awaited: Mapping[str, AwaitedEncoder],
        cache: Cache,
        tracked: Tracked = nullcontext,
        clients: Mapping[str, EncoderClient] = MappingProxyType({}),
    ) -> None:
        """`tracked` is entered for each question that is encoded; `clients` are those of the
        encoders, as far as they are elsewhere."""
        self._clients = clients
        self._awaited = awaited
        self._cache = cache
        self._tracked = tracked
        self._caching: dict[StandbyEncoder, CachingEncoder] = {}

    @property
    def awaited(self) -> Sequence[AwaitedEncoder]:
        """All of them, known or not."""
        return list(self._awaited.values())

    def __getitem__(self, name: str) -> Encoder:
        if encoder := self._named(name):
            return encoder
        if not all(each.is_known for each in self._awaited.values()):
            raise EncoderUnavailable
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(encoder.name for encoder in self._present()))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def expect(self, encoder: str, text: str) -> ExpectedVector | None:
        """As `app.chat.ports.QueryVectors`; None also for an encoder that is not there yet."""
        cached = self._named(encoder)
        return cached.expect(text) if cached else None

    def availability(self) -> Mapping[str, bool]:
        """Whether each can encode now, by what it is configured as."""
        return {role: each.is_available for role, each in self._awaited.items()}

    def statistics(self) -> Mapping[str, int]:
        """Query vectors by origin since the start, of all encoders together."""
        total = Counter(asdict(VectorCacheStatistics()))
        for each in self._caching.values():
            total.update(each.statistics())
        return total

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """Of each client, by what it is configured as."""
        return {role: each.statistics() for role, each in self._clients.items()}

    def _present(self) -> Iterator[StandbyEncoder]:
        return (each.encoder for each in self._awaited.values() if each.encoder is not None)

    def _named(self, name: str) -> CachingEncoder | None:
        encoders = (each for each in self._present() if each.name == name)
        encoder = next(encoders, None)
        return self._cached(encoder) if encoder else None

    def _cached(self, encoder: StandbyEncoder) -> CachingEncoder:
        if encoder not in self._caching:
            self._caching[encoder] = CachingEncoder(encoder, self._cache, self._tracked)
        return self._caching[encoder]
