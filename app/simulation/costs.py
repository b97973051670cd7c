"""What each part costs, and the command that printed it: the simulation's only input about today.

The figures below are of the machine that docs/scaling.md tells of. A file of `citestream bench
tiers concurrency memory encoder --output FILE` has those of another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.bench.results import Results


@dataclass(frozen=True, slots=True)
class Source:
    """A value with its unit, and where it was printed: by which bench under which name."""

    value: float
    unit: str
    bench: str
    figure: str

    @property
    def told(self) -> str:
        return f"{self.bench}: {self.figure}"


_NEW, _CACHED = "new answers, 16 at once", "cached answers, 32 at once"
_CPU = "processor an answer"
SHIPPED: Mapping[str, Source] = MappingProxyType({
    "api_new": Source(7.93, "ms", "tiers", f"{_NEW}: {_CPU}, API"),
    "postgres_new": Source(8.69, "ms", "tiers", f"{_NEW}: {_CPU}, Postgres"),
    "redis_new": Source(0.645, "ms", "tiers", f"{_NEW}: {_CPU}, Redis"),
    "encoder_new": Source(5.63, "ms", "tiers", f"{_NEW}: {_CPU}, encoder"),
    "beside_new": Source(0.302, "ms", "tiers", f"{_NEW}: {_CPU}, the clients and the provider"),
    "api_cached": Source(1.42, "ms", "tiers", f"{_CACHED}: {_CPU}, API"),
    "postgres_cached": Source(1.15, "ms", "tiers", f"{_CACHED}: {_CPU}, Postgres"),
    "redis_cached": Source(0.00409, "ms", "tiers", f"{_CACHED}: {_CPU}, Redis"),
    "beside_cached": Source(
        0.0706, "ms", "tiers", f"{_CACHED}: {_CPU}, the clients and the provider"
    ),
    "token_burst": Source(
        11.1, "µs", "concurrency", "relayed tokens, 64 streams × 256, ours: processor a token, ours"
    ),
    "token_alone": Source(
        88.7, "µs", "memory", "1,000 streams of a token each 100 ms: processor a token, ours"
    ),
    "encoder_lone": Source(3.7, "ms", "encoder", "onnx service, a lone question"),
    "encoder_rate": Source(1015, "/s", "encoder", "onnx service, 64 clients or texts"),
    "nginx": Source(1.0, "ms", "make compose-test", "first token, through nginx, so it adds"),
    # What the simulation is held against, and takes nothing from.
    "tiers_new": Source(74.7, "/s", "tiers", _NEW),
    "tiers_cached": Source(570, "/s", "tiers", _CACHED),
    "measured_new": Source(82.6, "/s", "concurrency", "whole answers, 16 at once, ours"),
    "measured_cached": Source(655, "/s", "concurrency", "cached answers, 32 at once, ours"),
    "measured_first_1": Source(17.1, "ms", "concurrency", "first token, 1 at once: p50, ours"),
    "measured_first_8": Source(83.4, "ms", "concurrency", "first token, 8 at once: p50, ours"),
    "measured_cached_1": Source(
        2.27, "ms", "concurrency", "cached answer, streamed: p50, ours: the same answered whole"
    ),
})  # fmt: skip
UNITS = {"ms": 1e-3, "µs": 1e-6, "/s": 1.0}
BENCH_TOKENS = 64  # of each new answer in the benches, as fast as they are taken
BATCH = 64  # questions that an encoder takes at once, which is also what `encoder_rate` is of


@dataclass(frozen=True, slots=True)
class Costs:
    """In seconds, and texts a second. `sources` say where each comes from."""

    sources: Mapping[str, Source] = field(default_factory=lambda: SHIPPED)

    def __getitem__(self, name: str) -> float:
        source = self.sources[name]
        return source.value * UNITS[source.unit]

    @property
    def api_new(self) -> float:
        """Of an API process for a new answer, without its tokens."""
        return max(0.0, self["api_new"] - BENCH_TOKENS * self["token_burst"])

    @property
    def search(self) -> float:
        """Of Postgres for all sources of a question: what a new one takes beyond a cached one."""
        return max(0.0, self["postgres_new"] - self["postgres_cached"])

    @property
    def encoder_width(self) -> float:
        """The cores that an encoder keeps at work while it encodes a question."""
        return max(1.0, self["encoder_new"] / self["encoder_lone"])

    def encode(self, texts: int) -> float:
        """Seconds of a batch: a straight line through a lone question and a full batch."""
        lone, full = self["encoder_lone"], BATCH / self["encoder_rate"]
        each = max(0.0, (full - lone) / (BATCH - 1))
        return lone + each * (texts - 1)


def costs_of(results: Results) -> tuple[Costs, list[str]]:
    """The costs as a file of results has them, and the names of those that it has not."""
    found = {
        (outcome.name, figure.name): figure.median
        for outcome in results.outcomes
        for figure in outcome.figures
    }
    sources, missing = dict(SHIPPED), []
    for name, source in SHIPPED.items():
        value = found.get((source.bench, source.figure))
        if value is None:
            missing.append(source.told)
        else:
            sources[name] = Source(value, source.unit, source.bench, source.figure)
    return Costs(sources), missing
