"""Which of the waiting texts are encoded next. Decisions only: no clock, no model, no I/O.

Queries go before documents, because somebody waits for each of them. Documents are taken in
windows, each window longest first: texts of like length share a batch, which saves padding, and
since a window is emptied before the next begins, no short text waits for ever.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.encoder.backend import InputType

WINDOW = 256  # documents sorted together
CHARS_PER_TOKEN = 4  # about right for English; only an estimate of the work is needed


@dataclass(frozen=True, slots=True)
class Limits:
    """`batch_tokens` counts padding: texts times the longest of them.

    A query that arrives waits for the batch that runs, so batches are as small as still costs
    nothing: on a CPU the time a text takes is flat from 500 tokens on, on a GPU it is not.
    """

    batch_tokens: int = 1024
    batch_texts: int = 64
    # No fewer than a single request may bring (`wire.MAX_INPUTS`).
    waiting_queries: int = 2048
    waiting_documents: int = 4096

    @classmethod
    def for_device(cls, device: str) -> "Limits":
        return cls() if device == "cpu" else cls(batch_tokens=16384, batch_texts=256)


@dataclass(eq=False, slots=True)
class Job:
    """The texts of one request and what has become of them so far."""

    texts: tuple[str, ...]
    input_type: InputType
    vectors: list[bytes] = field(init=False)
    tokens: int = field(init=False, default=0)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = [b""] * len(self.texts)
        self.missing = len(self.texts)

    def put(self, index: int, vector: bytes, tokens: int) -> None:
        """Note one text's result."""
        self.vectors[index] = vector
        self.tokens += tokens
        self.missing -= 1


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a job, with the tokens it is estimated to take."""

    job: Job
    index: int
    cost: int

    @property
    def text(self) -> str:
        return self.job.texts[self.index]


class Waiting:
    """The bounded queue."""

    def __init__(self, limits: Limits, max_tokens: int) -> None:
        self._limits = limits
        self._max_tokens = max_tokens
        self._queries: deque[Item] = deque()
        self._documents: deque[Item] = deque()
        self._window: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._queries) + len(self._documents) + len(self._window)

    def add(self, job: Job) -> bool:
        """Queue all texts of a job, or none and return False when they do not fit.

        Each kind has a bound of its own: ingestion never makes a question be refused.
        """
        items = [Item(job, index, self._cost(text)) for index, text in enumerate(job.texts)]
        if job.input_type == "query":
            queue, room = self._queries, self._limits.waiting_queries
            used = len(queue)
        else:
            queue, room = self._documents, self._limits.waiting_documents
            used = len(queue) + len(self._window)
        if used + len(items) > room:
            return False
        queue.extend(items)
        return True

    def remove(self, job: Job) -> None:
        """Drop what is left of a job; its caller is gone."""
        self._queries = _without(self._queries, job)
        self._documents = _without(self._documents, job)
        self._window = _without(self._window, job)

    def drain(self) -> set[Job]:
        """Drop everything; returns the jobs it belonged to."""
        queues = (self._queries, self._documents, self._window)
        jobs = {item.job for queue in queues for item in queue}
        for queue in queues:
            queue.clear()
        return jobs

    def take(self) -> list[Item]:
        """The next batch, of one kind; empty when nothing waits. Never waits for more to come:
        while one batch runs, the next one gathers."""
        if self._queries:
            return self._fill(self._queries)
        if not self._window:
            count = min(WINDOW, len(self._documents))
            window = [self._documents.popleft() for _ in range(count)]
            self._window = deque(sorted(window, key=lambda item: -item.cost))
        return self._fill(self._window)

    def _fill(self, source: deque[Item]) -> list[Item]:
        batch: list[Item] = []
        longest = 0
        while source and len(batch) < self._limits.batch_texts:
            longest = max(longest, source[0].cost)
            if batch and (len(batch) + 1) * longest > self._limits.batch_tokens:
                break
            batch.append(source.popleft())
        return batch

    def _cost(self, text: str) -> int:
        return min(self._max_tokens, len(text) // CHARS_PER_TOKEN + 2)


def _without(items: Iterable[Item], job: Job) -> deque[Item]:
    return deque(item for item in items if item.job is not job)
