"""A portfolio of synthetic documents, put in by the service's own ingestion, and questions to it.

Every document is about one subject, a topic and a technology, and has ten paragraphs that become a
chunk each. Words are about as rare as in real texts, because that is what looking for them costs:
in XQuAD's 240 English passages (Artetxe et al., "On the Cross-lingual Transferability of
Monolingual Representations", 2020) a question's rarest word, stop words aside, is in 0.4 % of the
passages, its next ones are in 0.8, 1.7, 2.1 and 3.3 % (medians). Here they are in 0.5, 0.8, 3, 9
and 16 %, and "project" in four of five.

The vector of a subject is what the encoder makes of its name; a chunk lies around that
of its document, so ten thousand of them cost no more than two hundred texts of the encoder's time.
"""

import random
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice, product
from math import prod

import asyncpg
import numpy as np

from app.bench.corpus import scattered
from app.chat.encoders import EncodersByName
from app.chat.language import detect_language
from app.chat.model import Scope, Vector
from app.chat.ports import Encoder
from app.ingest.ingestor import Ingestor
from app.ingest.ports import NewDocument
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.migrate import as_owner
from app.stores.portfolios import PgPortfolios
from app.stores.vector_indexes import VectorIndexes
from app.stores.vectors import PgVectors

CHUNKS_A_DOCUMENT, CHUNK_CHARS, PARAGRAPH_CHARS = 10, 900, 700
DOCUMENTS_AT_ONCE = 50
MAX_DOCUMENT_BYTES = 1 << 20
EXACT_BELOW = 400  # as the service has it by default
TOPICS = (
    "billing", "search", "bookings", "payroll", "shipping", "analytics", "inventory", "messaging",
    "reporting", "onboarding", "scheduling", "invoicing", "mapping", "archiving", "monitoring",
    "translation", "payments", "ticketing", "forecasting", "auditing",
)  # fmt: skip
TECHNOLOGIES = (
    "React", "Django", "Postgres", "Kafka", "Rust", "Kotlin", "Angular", "Redis", "Spark",
    "Flutter",
)  # fmt: skip
SYLLABLES = ("ba", "do", "fi", "ga", "ju", "ka", "lo", "mi", "nu", "po", "ra", "tu", "vi", "zo")


def _names(end: str, count: int, syllables: int) -> tuple[str, ...]:
    """So many words with this end."""
    words = product(SYLLABLES, repeat=syllables)
    return tuple("".join((*word, end)).capitalize() for word in islice(words, count))


YEARS = tuple(range(2001, 2026))
SENTENCES = (
    "{person} led the {topic} project for {customer} and moved it to {technology}.",
    "The team built the {topic} service of {customer} with {technology}, which {person} reviewed.",
    "In {year} the {topic} pipeline processed {number} records a day on {technology}.",
    "{person} wrote that {topic} needs {number} hours of work before the next release.",
    "Customers like {customer} asked for {topic} with {technology}, and {number} of them use it.",
    "A migration from {technology} in {year} took {number} days because of old {topic} data.",
)
GIVEN, FAMILY, CUSTOMERS = _names("n", 150, 2), _names("s", 600, 3), _names("x", 1000, 3)
PEOPLE = tuple(f"{GIVEN[place % len(GIVEN)]} {name}" for place, name in enumerate(FAMILY))
# A sentence speaks of its document's own subject, or once in so many of another.
ANOTHER = 12
# All of them are of the same complexity, so that as many passages are wanted for each.
QUESTIONS = (
    "Which {topic} projects used {technology} under {person} for {customer}?",
    "What {topic} projects did {person} build with {technology} for {customer}?",
    "Which teams moved {topic} projects to {technology} with {person} for {customer}?",
    "What {technology} projects for {topic} were there under {person} for {customer}?",
)
# What `app.bench.baseline` searches.
OWN_TABLE = (
    """
CREATE TABLE bench_passages AS
SELECT d.title, c.text, e.embedding::halfvec({dimension}) AS embedding
  FROM rag_embedding e JOIN rag_chunk c ON c.id = e.chunk_id
  JOIN documents d ON d.id = c.document_id
 WHERE e.portfolio_id = {portfolio}
""",
    "CREATE INDEX ON bench_passages USING hnsw (embedding halfvec_cosine_ops)",
    "VACUUM ANALYZE bench_passages",
    "GRANT SELECT ON bench_passages TO PUBLIC",
)
WRITTEN = (
    "portfolios", "documents", "rag_chunk", "rag_embedding", "rag_terms", "rag_frequencies",
    "rag_mention",
)  # fmt: skip
# Prime, so that every question comes once before the first one comes again.
STRIDE = 619_979


@dataclass(frozen=True, slots=True)
class Library:
    """A filled portfolio."""

    scope: Scope
    portfolio: int
    chunks: int
    encoder: "Clustered"  # of its chunks, and of what is added to it


class Clustered:
    """`app.chat.ports.Encoder` that gives a document's texts vectors around its subject's."""

    def __init__(self, encoder: Encoder, subjects: Mapping[str, Vector]) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self.languages = encoder.languages
        self._subjects = subjects

    async def embed_query(self, text: str) -> Vector:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [self._around(text) for text in texts]

    def _around(self, text: str) -> Vector:
        topic, technology, *_ = text.split()
        centre = np.asarray([self._subjects[f"{topic} {technology}"]], dtype=np.float32)
        vectors = scattered(np.random.default_rng(zlib.crc32(text.encode())), centre)
        return [float(value) for value in vectors[0]]


def subjects() -> list[str]:
    return [f"{topic} {technology}" for topic in TOPICS for technology in TECHNOLOGIES]


def questions(start: int, count: int) -> list[str]:
    """So many from one of hundreds of millions on, none of which asks the same as another."""
    parts = (QUESTIONS, TOPICS, TECHNOLOGIES, PEOPLE, CUSTOMERS)
    many = prod(len(part) for part in parts)
    asked = []
    for number in range(start, start + count):
        chosen, left = [], number * STRIDE % many
        for part in parts:
            left, place = divmod(left, len(part))
            chosen.append(part[place])
        form, topic, technology, person, customer = chosen
        asked.append(
            form.format(topic=topic, technology=technology, person=person, customer=customer)
        )
    return asked


def documents(chunks: int) -> Iterator[NewDocument]:
    """Documents that come to so many chunks, a multiple of ten."""
    chance, all_subjects = random.Random(11), subjects()  # noqa: S311 — texts, not secrets
    for number in range(chunks // CHUNKS_A_DOCUMENT):
        subject = all_subjects[number % len(all_subjects)]
        topic, technology = subject.split()
        paragraphs = [_paragraph(chance, topic, technology) for _ in range(CHUNKS_A_DOCUMENT)]
        yield NewDocument(f"{subject} {number}", "\n\n".join(paragraphs), f"bench:{number}")


async def fill(
    database: Database,
    owner_url: str,
    encoder: Clustered,
    scope: Scope,
    chunks: int,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Library:
    """Make a portfolio of so many chunks for an encoder that the database is prepared for, with
    its index."""
    encoders = {encoder.name: encoder}
    portfolios = PgPortfolios(database, encoders)
    portfolio = await portfolios.create(scope, {"name": f"bench {chunks}"})
    async with _ingesting(database, encoders) as ingestor:
        tenth = max(1, chunks // CHUNKS_A_DOCUMENT // 10)
        for number, some in enumerate(_batches(documents(chunks), DOCUMENTS_AT_ONCE), 1):
            await _ingest(ingestor, scope, portfolio.id, some)
            if (done := number * DOCUMENTS_AT_ONCE) % tenth < DOCUMENTS_AT_ONCE:
                on_progress(f"{min(chunks, done * CHUNKS_A_DOCUMENT):,} of {chunks:,} chunks")
    await _finish(owner_url)
    filled = await portfolios.get(scope, portfolio.id)
    return Library(scope, portfolio.id, filled.chunk_count, encoder)


async def fill_small(
    database: Database, owner_url: str, encoder: Clustered, scope: Scope, count: int
) -> None:
    """So many portfolios of one document each."""
    encoders = {encoder.name: encoder}
    portfolios = PgPortfolios(database, encoders)
    async with _ingesting(database, encoders) as ingestor:
        for number, document in enumerate(documents(count * CHUNKS_A_DOCUMENT)):
            portfolio = await portfolios.create(scope, {"name": f"small {number}"})
            await _ingest(ingestor, scope, portfolio.id, [document])
    await _finish(owner_url)


async def make_table(owner: asyncpg.Connection, portfolio: int, dimension: int) -> None:
    """The yardstick's table of a portfolio's chunks, over a connection of the owner's that sees
    them."""
    for statement in OWN_TABLE:
        await owner.execute(statement.format(portfolio=portfolio, dimension=dimension))


async def clustered(encoder: Encoder) -> Clustered:
    """For any number of portfolios: it takes a second or two of the encoder's time."""
    names = subjects()
    vectors = await encoder.embed_documents(names)
    return Clustered(encoder, dict(zip(names, vectors, strict=True)))


@asynccontextmanager
async def _ingesting(database: Database, encoders: EncodersByName) -> AsyncIterator[Ingestor]:
    ingestor = Ingestor(
        PgDocuments(database),
        encoders,
        PgVectors(database),
        detect=detect_language,
        chunk_chars=CHUNK_CHARS,
        max_document_bytes=MAX_DOCUMENT_BYTES,
    )
    try:
        yield ingestor
    finally:
        await ingestor.close()


async def _ingest(
    ingestor: Ingestor, scope: Scope, portfolio: int, some: Sequence[NewDocument]
) -> None:
    accepted = await ingestor.accept(scope, portfolio, some)
    await ingestor.index([each.upload_id for each in accepted if each.upload_id is not None])


async def _finish(owner_url: str) -> None:
    """Indexes, and what autovacuum does within a minute or two."""
    await VectorIndexes(owner_url, EXACT_BELOW).update()
    async with as_owner(owner_url) as owner:
        for table in WRITTEN:
            await owner.execute(f"VACUUM ANALYZE {table}")


def _batches(some: Iterator[NewDocument], size: int) -> Iterator[list[NewDocument]]:
    while batch := list(islice(some, size)):
        yield batch


def _paragraph(chance: random.Random, topic: str, technology: str) -> str:
    said = ""
    while len(said) < PARAGRAPH_CHARS:
        said += chance.choice(SENTENCES).format(
            topic=topic if chance.randrange(ANOTHER) else chance.choice(TOPICS),
            technology=technology if chance.randrange(ANOTHER) else chance.choice(TECHNOLOGIES),
            person=chance.choice(PEOPLE),
            customer=chance.choice(CUSTOMERS),
            year=chance.choice(YEARS),
            number=chance.randint(2, 900),
        )
        said += " "
    return said.strip()
