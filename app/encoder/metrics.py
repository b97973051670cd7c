"""What the encoder counts and times, for Prometheus and for a program's own eyes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.encoder.backend import InputType, ModelInfo

CONTENT_TYPE = CONTENT_TYPE_LATEST
KINDS: Sequence[InputType] = ("query", "document")
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals since the start, and what waits just now. `rejected`, `cancelled` and `failed` count
    requests, the rest texts."""

    batches: int
    texts: int
    tokens: int
    truncated: int
    rejected: int
    cancelled: int
    failed: int
    waiting: int
    encode_seconds: float

    @property
    def mean_batch(self) -> float:
        """Texts a batch; 0 before the first."""
        return self.texts / self.batches if self.batches else 0.0


class EncoderMetrics:
    """A registry of its own for each encoder of a process, which its reranker shares."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        kind = ["kind"]
        self._waiting = Gauge(
            "encoder_waiting_texts", "Texts that wait for the model.", kind, registry=registry
        )
        self._batch_texts = Histogram(
            "encoder_batch_texts", "Texts a batch.", kind, buckets=TEXTS, registry=registry
        )
        self._batch_tokens = Histogram(
            "encoder_batch_tokens",
            "Tokens a batch, without padding.",
            kind,
            buckets=TOKENS,
            registry=registry,
        )
        self._encode = Histogram(
            "encoder_encode_seconds",
            "Time of a batch in the model.",
            kind,
            buckets=SECONDS,
            registry=registry,
        )
        self._wait = Histogram(
            "encoder_wait_seconds",
            "Time of a text from its arrival to its batch.",
            kind,
            buckets=SECONDS,
            registry=registry,
        )
        self._truncated = Counter(
            "encoder_truncated_texts", "Texts longer than the model reads.", registry=registry
        )
        self._rejected = Counter(
            "encoder_rejected", "Requests refused because too much waits.", kind, registry=registry
        )
        self._cancelled = Counter(
            "encoder_cancelled", "Requests whose caller left.", kind, registry=registry
        )
        self._failed = Counter(
            "encoder_failed", "Requests without a usable vector.", kind, registry=registry
        )
        self._requests = Counter(
            "encoder_requests", "HTTP requests.", ["path", "status"], registry=registry
        )
        self._model = Gauge(
            "encoder_model_info",
            "What is loaded; always 1.",
            ["model", "revision", "backend", "device"],
            registry=registry,
        )
        for each in KINDS:  # so that a rate starts at 0 and not at nothing
            for counter in (self._rejected, self._cancelled, self._failed):
                counter.labels(each)

    def loaded(self, info: ModelInfo, waiting: Callable[[InputType], int]) -> None:
        """Note the model, and how to learn how many texts of a kind wait."""
        self._model.labels(info.model, info.revision, info.backend, info.device).set(1)
        for kind in KINDS:
            self._waiting.labels(kind).set_function(partial(waiting, kind))

    def batch(
        self, kind: InputType, tokens: Sequence[int], waits: Iterable[float], seconds: float
    ) -> None:
        """Note an encoded batch: the tokens and the wait of each text, and the time it took."""
        self._batch_texts.labels(kind).observe(len(tokens))
        self._batch_tokens.labels(kind).observe(sum(tokens))
        self._encode.labels(kind).observe(seconds)
        wait = self._wait.labels(kind)
        for each in waits:
            wait.observe(each)

    def truncated(self, texts: int) -> None:
        self._truncated.inc(texts)

    def rejected(self, kind: InputType) -> None:
        self._rejected.labels(kind).inc()

    def cancelled(self, kind: InputType) -> None:
        self._cancelled.labels(kind).inc()

    def failed(self, kind: InputType) -> None:
        self._failed.labels(kind).inc()

    def request(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def statistics(self) -> Statistics:
        return Statistics(
            batches=int(self._total("encoder_batch_texts_count")),
            texts=int(self._total("encoder_batch_texts_sum")),
            tokens=int(self._total("encoder_batch_tokens_sum")),
            truncated=int(self._total("encoder_truncated_texts_total")),
            rejected=int(self._total("encoder_rejected_total")),
            cancelled=int(self._total("encoder_cancelled_total")),
            failed=int(self._total("encoder_failed_total")),
            waiting=int(self._total("encoder_waiting_texts")),
            encode_seconds=self._total("encoder_encode_seconds_sum"),
        )

    def _total(self, name: str) -> float:
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name
        )
