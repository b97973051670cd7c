"""What the reranker counts and times, beside the encoder's own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.encoder.metrics import SECONDS, TEXTS
from app.encoder.rerank import RerankerInfo


class RerankMetrics:
    """Registers itself where the encoder's metrics are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge(
            "encoder_rerank_waiting_texts", "Texts that wait for the reranker.", registry=registry
        )
        self._batch_texts = Histogram(
            "encoder_rerank_batch_texts", "Texts a batch.", buckets=TEXTS, registry=registry
        )
        self._score = Histogram(
            "encoder_rerank_seconds",
            "Time of a batch in the reranker.",
            buckets=SECONDS,
            registry=registry,
        )
        self._wait = Histogram(
            "encoder_rerank_wait_seconds",
            "Time of a request from its arrival to its first batch.",
            buckets=SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "encoder_rerank_rejected",
            "Requests refused because too much waits.",
            registry=registry,
        )
        self._cancelled = Counter(
            "encoder_rerank_cancelled", "Requests whose caller left.", registry=registry
        )
        self._failed = Counter(
            "encoder_rerank_failed", "Requests without usable scores.", registry=registry
        )
        self._model = Gauge(
            "encoder_rerank_model_info",
            "The reranker that is loaded; always 1.",
            ["model", "revision", "backend", "device"],
            registry=registry,
        )

    def loaded(self, info: RerankerInfo, waiting: Callable[[], int]) -> None:
        """Note the model, and how to learn how many texts wait."""
        self._model.labels(info.model, info.revision, info.backend, info.device).set(1)
        self._waiting.set_function(waiting)

    def began(self, waited_seconds: float) -> None:
        self._wait.observe(waited_seconds)

    def batch(self, texts: int, seconds: float) -> None:
        self._batch_texts.observe(texts)
        self._score.observe(seconds)

    def rejected(self) -> None:
        self._rejected.inc()

    def cancelled(self) -> None:
        self._cancelled.inc()

    def failed(self) -> None:
        self._failed.inc()
