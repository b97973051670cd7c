"""What the caches of a process have done since its start, in plain numbers."""

from dataclasses import asdict, dataclass, field

# By the keys' beginnings (`app.chat.cache`). Encoders count their vectors themselves.
LAYERS = {"agent:response": "answers", "rag:chunks": "passages", "semantic": "semantic"}


@dataclass(slots=True)
class LayerCounts:
    """Of one kind of entry. A look-up that is no hit was a miss, for whatever reason."""

    lookups: int = 0
    local_hits: int = 0
    shared_hits: int = 0
    puts: int = 0

    def hit(self, *, local: bool) -> None:
        if local:
            self.local_hits += 1
        else:
            self.shared_hits += 1


@dataclass(slots=True)
class CacheCounts:
    """`refused` commands were answered with an error, `failed` ones not at all or too late, and
    `skipped` ones not sent, because one had just failed."""

    refused: int = 0
    failed: int = 0
    skipped: int = 0
    layers: dict[str, LayerCounts] = field(
        default_factory=lambda: {name: LayerCounts() for name in LAYERS.values()}
    )
    _others: LayerCounts = field(default_factory=LayerCounts)

    def of(self, key: str) -> LayerCounts:
        """Those of the key's kind."""
        return self.layers.get(LAYERS.get(key.partition(":{")[0], ""), self._others)

    def by_layer(self) -> dict[str, dict[str, int]]:
        """Numbers by name, by layer."""
        return {name: asdict(layer) for name, layer in self.layers.items()}

    def of_server(self) -> dict[str, int]:
        return {"refused": self.refused, "failed": self.failed, "skipped": self.skipped}
