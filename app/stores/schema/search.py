"""What documents are found by."""

from pgvector.sqlalchemy import HALFVEC, SPARSEVEC
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.stores.schema.columns import identity, metadata, moment, number, reference, string

PARTITION_PREFIX = "rag_embedding_p"

rag_chunk = Table(
    "rag_chunk",
    metadata,
    identity(),
    number("tenant_id"),
    number("portfolio_id"),
    reference("document_id", "documents.id"),
    number("ordinal", None, Integer),
    number("start_char", None, Integer),
    number("end_char", None, Integer),
    string("text"),
    string("tail", ""),
    Column("question", Text),
    string("language"),
    moment("created_at"),
    UniqueConstraint("portfolio_id", "id", name="uq_rag_chunk_portfolio_id_id"),
    UniqueConstraint("document_id", "ordinal", name="uq_rag_chunk_document_id_ordinal"),
    Index("ix_rag_chunk_question", "portfolio_id", postgresql_where=text("question IS NOT NULL")),
)

rag_terms = Table(
    "rag_terms",
    metadata,
    Column(
        "chunk_id", BigInteger, ForeignKey("rag_chunk.id", ondelete="CASCADE"), primary_key=True
    ),
    number("portfolio_id"),
    number("tenant_id"),
    number("length", None, Integer),
    Column("weights", SPARSEVEC, nullable=False),
    Column("terms", ARRAY(Integer), nullable=False),
    Column("counts", ARRAY(SmallInteger), nullable=False),
    Index("ix_rag_terms_terms", "terms", postgresql_using="gin"),
)

rag_frequencies = Table(
    "rag_frequencies",
    metadata,
    Column(
        "portfolio_id",
        BigInteger,
        ForeignKey("portfolios.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("term", Integer, primary_key=True),
    number("tenant_id"),
    number("chunks", None, Integer),
)

rag_embedding = Table(
    "rag_embedding",
    metadata,
    Column("portfolio_id", BigInteger, primary_key=True),
    Column("chunk_id", BigInteger, primary_key=True),
    Column("encoder_id", Integer, ForeignKey("encoders.id"), primary_key=True),
    number("tenant_id"),
    Column("embedding", HALFVEC, nullable=False),
    ForeignKeyConstraint(
        ["portfolio_id", "chunk_id"], ["rag_chunk.portfolio_id", "rag_chunk.id"], ondelete="CASCADE"
    ),
    postgresql_partition_by="HASH (portfolio_id)",
)

rag_mention = Table(
    "rag_mention",
    metadata,
    Column("portfolio_id", BigInteger, primary_key=True),
    Column("key", Text(collation="C"), primary_key=True),
    Column("chunk_id", BigInteger, primary_key=True),
    number("tenant_id"),
    ForeignKeyConstraint(
        ["portfolio_id", "chunk_id"], ["rag_chunk.portfolio_id", "rag_chunk.id"], ondelete="CASCADE"
    ),
    Index(
        "ix_rag_mention_chunk_id",
        "portfolio_id",
        "chunk_id",
        postgresql_include=["key", "tenant_id"],
    ),
)

vector_cache = Table(
    "vector_cache",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("encoder_id", Integer, ForeignKey("encoders.id"), primary_key=True),
    Column("text_hash", LargeBinary, primary_key=True),
    Column("embedding", HALFVEC, nullable=False),
    moment("used_at"),
    Index("ix_vector_cache_used_at", "used_at"),
)
