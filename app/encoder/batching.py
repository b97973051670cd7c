"""Which of the waiting texts are encoded next. Decisions only: no clock, no model, no I/O.

Queries go before documents, because somebody waits for each of them; but while documents wait,
they get a share of the model's work, so that no stream of queries keeps them waiting for ever.
Documents are taken in windows, each window longest first: texts of like length share a batch,
which saves padding, and since a window is emptied before the next begins, no short text waits for
ever.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from app.encoder.backend import InputType

WINDOW = 256  # documents sorted together
# Of the work that is done while both kinds wait. A query waits for a batch of documents that runs,
# so more than this would be felt by people, and less would let an ingestion time out.
DOCUMENT_SHARE = 0.2


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

    @classmethod
    def of(cls, batch_tokens: int, device: str) -> "Limits":
        """Those for a device, but with batches of so many tokens unless that is 0."""
        limits = cls.for_device(device)
        return replace(limits, batch_tokens=batch_tokens) if batch_tokens else limits


@dataclass(eq=False, slots=True)
class Job:
    """The texts of one request and what has become of them so far."""

    texts: tuple[str, ...]
    input_type: InputType
    vectors: list[bytes] = field(init=False)
    tokens: int = field(init=False, default=0)
    truncated: int = field(init=False, default=0)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = [b""] * len(self.texts)
        self.missing = len(self.texts)

    def put(self, index: int, vector: bytes, tokens: int, truncated: bool) -> None:
        """Note one text's result."""
        self.vectors[index] = vector
        self.tokens += tokens
        self.truncated += truncated
        self.missing -= 1


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a job, with the tokens it is estimated to take and when it came."""

    job: Job
    index: int
    cost: int
    since: float = 0.0

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
        self._owed = 0.0  # tokens of documents, for queries that went before them

    def __len__(self) -> int:
        return self.count("query") + self.count("document")

    def count(self, kind: InputType) -> int:
        """Texts of a kind that wait."""
        if kind == "query":
            return len(self._queries)
        return len(self._documents) + len(self._window)

    def tokens(self, kind: InputType) -> int:
        """What is estimated to be encoded before a text of this kind that comes now."""
        queues = [self._queries]
        if kind == "document":
            queues += [self._documents, self._window]
        return sum(item.cost for queue in queues for item in queue)

    def add(self, job: Job, now: float = 0.0) -> bool:
        """Queue all texts of a job, or none and return False when they do not fit.

        Each kind has a bound of its own: ingestion never makes a question be refused.
        """
        is_query = job.input_type == "query"
        room = self._limits.waiting_queries if is_query else self._limits.waiting_documents
        if self.count(job.input_type) + len(job.texts) > room:
            return False
        (self._queries if is_query else self._documents).extend(
            Item(job, index, min(self._max_tokens, estimate_tokens(text)), now)
            for index, text in enumerate(job.texts)
        )
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
        """The next batch, of one kind; empty when nothing waits."""
        if not self.count("document"):
            self._owed = 0.0
            return self._fill(self._queries)
        if self._queries and self._owed < self._limits.batch_tokens:
            batch = self._fill(self._queries)
            self._owed += work(batch) * DOCUMENT_SHARE / (1 - DOCUMENT_SHARE)
            return batch
        if not self._window:
            count = min(WINDOW, len(self._documents))
            window = [self._documents.popleft() for _ in range(count)]
            self._window = deque(sorted(window, key=lambda item: -item.cost))
        batch = self._fill(self._window)
        self._owed = max(0.0, self._owed - work(batch))
        return batch

    def _fill(self, source: deque[Item]) -> list[Item]:
        batch: list[Item] = []
        longest = 0
        while source and len(batch) < self._limits.batch_texts:
            longest = max(longest, source[0].cost)
            if batch and (len(batch) + 1) * longest > self._limits.batch_tokens:
                break
            batch.append(source.popleft())
        return batch


def work(batch: Sequence[Item]) -> int:
    """The tokens of a batch with padding: texts times the longest of them."""
    return len(batch) * max(item.cost for item in batch)


def estimate_tokens(text: str) -> int:
    """About the tokens of a text: four letters of ASCII make one, two and a half bytes of other
    scripts do. Counting them takes 0.1 ms a text and more, which the event loop has not got."""
    letters = len(text)
    others = len(text.encode(errors="replace")) - letters
    return int(letters / 4 + others / 2.5) + 2


def _without(items: Iterable[Item], job: Job) -> deque[Item]:
    return deque(item for item in items if item.job is not job)
