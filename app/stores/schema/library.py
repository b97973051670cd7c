"""Documents on their way in and as they are, in portfolios."""

from sqlalchemy import (
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.stores.schema.columns import (
    identity,
    metadata,
    moment,
    number,
    of_tenant,
    reference,
    string,
)

encoders = Table(
    "encoders",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    string("name"),
    number("dimension", None, Integer),
    moment("created_at"),
    UniqueConstraint("name", name="uq_encoders_name"),
)

portfolios = Table(
    "portfolios",
    metadata,
    identity(),
    of_tenant(),
    string("name"),
    string("description", ""),
    number("version", "1"),
    number("cache_epoch", "0"),
    number("document_count", "0"),
    number("chunk_count", "0"),
    number("length_total", "0"),
    Column("mean_length", Double, nullable=False, server_default="1"),
    Column("encoder_id", Integer, ForeignKey("encoders.id"), nullable=False),
    Column("next_encoder_id", Integer, ForeignKey("encoders.id")),
    moment("created_at"),
    moment("updated_at"),
    UniqueConstraint("tenant_id", "name", name="uq_portfolios_tenant_id_name"),
)

documents = Table(
    "documents",
    metadata,
    identity(),
    number("tenant_id"),
    reference("portfolio_id", "portfolios.id"),
    string("title"),
    Column("uri", Text),
    string("text", ""),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    string("language", "und"),
    Column("content_hash", LargeBinary, nullable=False),
    string("status", "pending"),
    Column("error", Text),
    number("revision", "0"),
    number("chunk_count", "0", Integer),
    moment("created_at"),
    moment("updated_at"),
    Index("ix_documents_portfolio_id", "portfolio_id", "id"),
    Index(
        "uq_documents_portfolio_id_uri",
        "portfolio_id",
        "uri",
        unique=True,
        postgresql_where=text("uri IS NOT NULL"),
    ),
    Index(
        "uq_documents_portfolio_id_content_hash",
        "portfolio_id",
        "content_hash",
        unique=True,
        postgresql_where=text("uri IS NULL"),
    ),
)

document_uploads = Table(
    "document_uploads",
    metadata,
    identity(),
    number("tenant_id"),
    reference("portfolio_id", "portfolios.id"),
    reference("document_id", "documents.id"),
    string("title"),
    Column("uri", Text),
    string("text"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("content_hash", LargeBinary, nullable=False),
    number("attempts", "0", Integer),
    Column("claimed_at", DateTime(timezone=True)),
    moment("created_at"),
    Index("ix_document_uploads_portfolio_id", "portfolio_id"),
    Index("ix_document_uploads_document_id", "document_id"),
)
