"""A client that searches the stores as the service has them, and judges what comes back."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from pgvector import HalfVector

from app.bench.corpus import DIMENSION, ENCODER
from app.bench.retrieval import NEAREST
from app.chat.model import Passage, Scope, Vector
from app.chat.ports import RetrievalRequest
from app.errors import AppError, NotFound
from app.retrieval.ports import Hit, Source
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources.graph import GraphSource
from app.retrieval.sources.keyword import KeywordSource
from app.retrieval.sources.vector import VectorSource
from app.stores.database import Database
from app.stores.graph import PgGraph
from app.stores.keywords import PgKeywords
from app.stores.passages import PgPassages
from tests.soak.every_match.counts import Counts
from tests.soak.every_match.shelves import EVERYWHERE, WORDS, Shelf, matches

K = 10
TRIES = 20  # until nothing was written to the portfolio during a search and its exact answer
VERSION = "SELECT version FROM portfolios WHERE id = $1"
SHARES = {"": "all", "tenth": "10 %", "hundredth": "1 %", "thousandth": "0.1 %"}

FAILED = "failed searches"
WRONG_COUNTS = "searches by vector with other than min(k, matching) rows"
WRONG_KEYWORDS = "searches by keyword with other than min(k, matching) rows"
FOREIGN = "rows of another tenant or portfolio"
EXCLUDED = "rows that a filter excludes"
TWICE = "rows that came twice"
JUDGED = "searches by vector that were judged"
KEYWORDS = "searches by keyword that were judged"
HYBRID = "searches by all sources"
EMPTY = "searches by all sources without a passage"
OVERTAKEN = "searches overtaken by writers every time"


class Questions:
    """The encoder of the questions: what was thought of is the vector that it gives."""

    name, dimension, languages = ENCODER, DIMENSION, ("*",)

    def __init__(self) -> None:
        self._vectors: dict[str, Vector] = {}

    def add(self, query: str, vector: Vector) -> None:
        self._vectors[query] = vector

    async def embed_query(self, text: str) -> Vector:
        return self._vectors.pop(text)

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        raise AssertionError("questions only")


@dataclass(frozen=True, slots=True)
class Searched:
    """The stores that are searched, over one pool, as the service is shipped."""

    passages: PgPassages
    keywords: PgKeywords
    hybrid: HybridRetriever
    questions: Questions

    @classmethod
    def over(
        cls, database: Database, exact_below: int, ef_search: int, deadline_seconds: float
    ) -> "Searched":
        questions = Questions()
        passages, keywords = PgPassages(database, exact_below, ef_search), PgKeywords(database)
        encoders = {ENCODER: questions}
        sources: list[Source] = [
            VectorSource(passages, encoders),
            KeywordSource(keywords),
            GraphSource(PgGraph(database)),
        ]
        hybrid = HybridRetriever(sources, deadline_seconds, encoders)
        return cls(passages, keywords, hybrid, questions)


class Searcher:
    """One client. `owner` is a connection of the owner's, of this client alone, which knows
    halfvec."""

    def __init__(
        self,
        searched: Searched,
        owner: asyncpg.Connection,
        encoder_id: int,
        counts: Counts,
        seed: int,
    ) -> None:
        self._searched = searched
        self._owner = owner
        self._encoder_id = encoder_id
        self._counts = counts
        self._chance = random.Random(seed)
        self._source = np.random.default_rng(seed)
        self._name, self._asked = f"client{seed}", 0

    async def by_vector(self, shelf: Shelf, k: int, key: str, group: tuple[str, str]) -> None:
        """A search and its exact answer, both of one state of the portfolio; `key` names the
        filter, `group` phase and size class."""
        filters = shelf.some_filter(self._chance, key) if key else {}
        vector = self._question(shelf)
        await self._owner.execute(
            "SELECT set_config('app.tenant_id', $1, false)", str(shelf.scope.tenant_id)
        )
        for _ in range(TRIES):
            before = await self._owner.fetchval(VERSION, shelf.id)
            try:
                hits = await self._searched.passages.vector_search(
                    shelf.scope, shelf.id, ENCODER, vector, k, filters
                )
            except AppError as error:
                self._failed(shelf, error)
                return
            self._check_rows(shelf, hits, filters)
            expected = await self._exact(shelf, vector, k, filters)
            if await self._owner.fetchval(VERSION, shelf.id) == before:
                what = f"k {k}, filters {filters}, {group[0]}"
                self._judge(shelf, hits, expected, what)
                if k == K and expected:
                    same = len(set(expected) & {hit.chunk_id for hit in hits})
                    self._counts.recall[*group, SHARES[key]].append(same / len(expected))
                return
        self._counts.of[OVERTAKEN] += 1

    async def by_keyword(self, shelf: Shelf, k: int, key: str) -> None:
        """A word that stands in a number of chunks that is known beforehand."""
        filters = shelf.some_filter(self._chance, key) if key else {}
        word = self._chance.choice(list(WORDS))
        value = self._chance.randrange(min(shelf.size, WORDS[word]))
        query = word if word == EVERYWHERE else f"{word}{value}"
        matching = shelf.holding(word, value, filters)
        try:
            hits = await self._searched.keywords.keyword_search(
                shelf.scope, shelf.id, query, "en", k, filters
            )
        except AppError as error:
            self._failed(shelf, error)
            return
        self._check_rows(shelf, hits, filters)
        self._counts.of[KEYWORDS] += 1
        if len(hits) != min(k, matching):
            told = f"{len(hits)} rows of {matching} with {query}, k {k}, filters {filters}"
            self._counts.wrong(WRONG_KEYWORDS, f"{told} in {_told(shelf)}")

    async def by_everything(self, shelf: Shelf, key: str) -> None:
        """As a question is answered: vectors, words and names, fused."""
        filters = shelf.some_filter(self._chance, key) if key else {}
        self._asked += 1
        query = f"word tens{self._chance.randrange(10)} {self._name} asks{self._asked}"
        self._searched.questions.add(query, self._question(shelf))
        request = RetrievalRequest(query, shelf.id, K, "en", filters=filters)
        found = await self._searched.hybrid.retrieve(shelf.scope, request)
        self._check_rows(shelf, found.passages, filters)
        self._counts.of[HYBRID] += 1
        if found.degraded:
            self._counts.wrong(FAILED, f"{found.degraded} in {_told(shelf)}")
        if not found.passages and any(matches(each, filters) for each in shelf.alive):
            self._counts.wrong(EMPTY, f"{_told(shelf)}, filters {filters}")

    async def as_another(self, shelf: Shelf, scope: Scope) -> None:
        """The portfolio asked for by a tenant that it is not of: as if it were not there."""
        vector = self._question(shelf)
        for search in (
            self._searched.passages.vector_search(scope, shelf.id, ENCODER, vector, K, {}),
            self._searched.keywords.keyword_search(scope, shelf.id, "word", "en", K, {}),
        ):
            try:
                hits = await search
            except NotFound:
                continue
            self._counts.wrong(FOREIGN, f"{_told(shelf)} opened to {scope}", len(hits) + 1)

    def _question(self, shelf: Shelf) -> list[float]:
        [vector] = shelf.portfolio.questions(self._source, 1)
        return [float(value) for value in vector]

    async def _exact(
        self, shelf: Shelf, vector: list[float], k: int, filters: dict[str, int]
    ) -> list[int]:
        some = ",".join(f'"{key}": {value}' for key, value in filters.items())
        rows = await self._owner.fetch(
            NEAREST, shelf.id, self._encoder_id, HalfVector(vector),
            f"{{{some}}}" if filters else None, k,
        )  # fmt: skip
        return [row["chunk_id"] for row in rows]

    def _judge(self, shelf: Shelf, hits: Sequence[Hit], expected: Sequence[int], what: str) -> None:
        self._counts.of[JUDGED] += 1
        if len(hits) != len(expected):
            told = f"{len(hits)} rows instead of {len(expected)}, {what}, in {_told(shelf)}"
            self._counts.wrong(WRONG_COUNTS, told)

    def _check_rows(
        self, shelf: Shelf, rows: Sequence[Hit | Passage], filters: dict[str, int]
    ) -> None:
        """By what stands in each row: its portfolio's name and its document's number."""
        foreign = [each.text[:40] for each in rows if not each.text.startswith(f"{shelf.name} ")]
        self._counts.wrong(FOREIGN, f"{foreign[:1]} in {_told(shelf)}", len(foreign))
        excluded = [each.title for each in rows if not matches(int(each.title.split()[1]), filters)]
        self._counts.wrong(EXCLUDED, f"{excluded[:1]} by {filters}", len(excluded))
        twice = len(rows) - len({each.chunk_id for each in rows})
        self._counts.wrong(TWICE, _told(shelf), twice)

    def _failed(self, shelf: Shelf, error: Any) -> None:
        self._counts.wrong(FAILED, f"{error!r} in {_told(shelf)}")


def _told(shelf: Shelf) -> str:
    return f"{shelf.name} of {shelf.size:,} chunks"
