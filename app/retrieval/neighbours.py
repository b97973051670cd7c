"""Chunks that follow each other in their document, put together again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.chat.model import Passage
from app.retrieval.fusion import Candidate

# Two chunks of the usual size. Longer passages give a language model no more to find in them, and
# the extractive answerer more sentences that only look like the answer.
MAX_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks of one document, in its order, without a gap: at least one."""

    members: Sequence[Candidate]

    @property
    def best(self) -> Candidate:
        return max(self.members, key=lambda each: (each.score, -each.hit.chunk_id))

    @property
    def document_id(self) -> int:
        return self.members[0].hit.document_id

    def joined(self, other: "Run") -> "Run | None":
        """Both as one, where the other follows and they are not too long together."""
        last, first = self.members[-1].hit, other.members[0].hit
        follows = (last.document_id, last.ordinal + 1, last.end + len(last.tail)) == (
            first.document_id,
            first.ordinal,
            first.start,
        )
        fits = other.members[-1].hit.end - self.members[0].hit.start <= MAX_CHARS
        return Run([*self.members, *other.members]) if follows and fits else None

    def passage(self, number: int) -> Passage:
        """The document's text from the first to the last chunk, with the better one's identity
        and score and the best rank that any of them has in each source."""
        first, last, best = self.members[0].hit, self.members[-1].hit, self.best
        return Passage(
            number=number,
            chunk_id=best.hit.chunk_id,
            document_id=first.document_id,
            title=first.title,
            uri=first.uri,
            text="".join(self._texts()),
            start=first.start,
            end=last.end,
            score=best.score,
            sources=self._ranks(),
            similarity=max(
                (each.similarity for each in self.members if each.similarity is not None),
                default=None,
            ),
            language=best.hit.language,
        )

    def _texts(self) -> Iterator[str]:
        for each in self.members[:-1]:
            yield each.hit.text
            yield each.hit.tail
        yield self.members[-1].hit.text

    def _ranks(self) -> Mapping[str, int]:
        ranks: dict[str, int] = {}
        for each in self.members:
            for name, rank in each.ranks.items():
                ranks[name] = min(rank, ranks.get(name, rank))
        return ranks


def with_neighbour(runs: Sequence[Run], candidate: Candidate) -> list[Run]:
    """The runs with one more chunk: at the end or the beginning of a run that it touches,
    between two, or as a run of its own."""
    own = Run([candidate])
    apart: list[Run] = []
    for run in runs:
        together = run.joined(own) or own.joined(run)
        if together is None:
            apart.append(run)
        else:
            own = together
    return [*apart, own]
