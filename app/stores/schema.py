"""The tables as SQLAlchemy sees them; `migrations/` makes them, a test compares the two.

Row level security, functions, partitions and HNSW indexes are the migrations' alone.
"""

from pgvector.sqlalchemy import HALFVEC, SPARSEVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, JSONB

PARTITION_PREFIX = "rag_embedding_p"
# What is encrypted (app/vault). `citestream keys rotate` goes by it.
SEALED = DOMAIN("sealed", LargeBinary)

metadata = MetaData()


def _identity() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _tenant() -> Column[int]:
    """A top-level object's owner. What belongs to an object goes with the object instead."""
    return _reference("tenant_id", "tenants.id")


def _reference(name: str, target: str, kind: type = BigInteger) -> Column[int]:
    return Column(name, kind, ForeignKey(target, ondelete="CASCADE"), nullable=False)


def _number(name: str, default: str | None = None, kind: type = BigInteger) -> Column[int]:
    return Column(name, kind, nullable=False, server_default=default)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


tenants = Table(
    "tenants",
    metadata,
    _identity(),
    _text("name"),
    _number("cache_epoch", "0"),
    _now("created_at"),
    UniqueConstraint("name", name="uq_tenants_name"),
)

users = Table(
    "users",
    metadata,
    _identity(),
    _tenant(),
    _text("email"),
    _text("role"),
    _text("name", ""),
    Column("disabled_at", DateTime(timezone=True)),
    Column("tokens_after", DateTime(timezone=True)),
    _now("created_at"),
    UniqueConstraint("tenant_id", "email", name="uq_users_tenant_id_email"),
    Index("ix_users_email", "email"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _identity(),
    _tenant(),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE")),
    _text("name"),
    _text("role"),
    Column("key_hash", LargeBinary, nullable=False),
    _text("last4"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    _now("created_at"),
    _text("kind", "key"),
    Column("parent_id", BigInteger, ForeignKey("api_keys.id", ondelete="CASCADE")),
    Column("portfolio_ids", ARRAY(BigInteger)),
    UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
    Index("ix_api_keys_parent_id", "parent_id"),
    Index("ix_api_keys_tenant_id", "tenant_id"),
    Index("ix_api_keys_user_id", "user_id"),
)

encoders = Table(
    "encoders",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    _text("name"),
    _number("dimension", None, Integer),
    _now("created_at"),
    UniqueConstraint("name", name="uq_encoders_name"),
)

portfolios = Table(
    "portfolios",
    metadata,
    _identity(),
    _tenant(),
    _text("name"),
    _text("description", ""),
    _number("version", "1"),
    _number("cache_epoch", "0"),
    _number("document_count", "0"),
    _number("chunk_count", "0"),
    _number("length_total", "0"),
    Column("mean_length", Double, nullable=False, server_default="1"),
    Column("encoder_id", Integer, ForeignKey("encoders.id"), nullable=False),
    Column("next_encoder_id", Integer, ForeignKey("encoders.id")),
    _now("created_at"),
    _now("updated_at"),
    UniqueConstraint("tenant_id", "name", name="uq_portfolios_tenant_id_name"),
)

portfolio_access = Table(
    "portfolio_access",
    metadata,
    Column(
        "portfolio_id",
        BigInteger,
        ForeignKey("portfolios.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    _tenant(),
    Column("readers", ARRAY(Text)),
    Column("writers", ARRAY(Text), nullable=False, server_default="{}"),
    Index("ix_portfolio_access_tenant_id", "tenant_id"),
)

agents = Table(
    "agents",
    metadata,
    _identity(),
    _tenant(),
    _text("name"),
    _text("description", ""),
    _text("system_prompt", ""),
    _text("provider", "auto"),
    Column("model", Text),
    Column("portfolio_id", BigInteger, ForeignKey("portfolios.id", ondelete="SET NULL")),
    Column("persona_portfolio_id", BigInteger, ForeignKey("portfolios.id", ondelete="SET NULL")),
    Column("fallback_provider", Text),
    Column("fallback_model", Text),
    Column("base_url", Text),
    Column("api_key_sealed", SEALED),
    Column("api_key_last4", Text),
    Column("semantic_threshold", Double),
    _number("top_k", "15", Integer),
    _number("max_tokens", "6000", Integer),
    Column("temperature", Double, nullable=False, server_default="0.2"),
    _number("version", "1"),
    _number("cache_epoch", "0"),
    _now("created_at"),
    _now("updated_at"),
    UniqueConstraint("tenant_id", "name", name="uq_agents_tenant_id_name"),
    Index("ix_agents_portfolio_id", "portfolio_id"),
    Index("ix_agents_persona_portfolio_id", "persona_portfolio_id"),
)

documents = Table(
    "documents",
    metadata,
    _identity(),
    _number("tenant_id"),
    _reference("portfolio_id", "portfolios.id"),
    _text("title"),
    Column("uri", Text),
    _text("text", ""),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    _text("language", "und"),
    Column("content_hash", LargeBinary, nullable=False),
    _text("status", "pending"),
    Column("error", Text),
    _number("revision", "0"),
    _number("chunk_count", "0", Integer),
    _now("created_at"),
    _now("updated_at"),
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
    _identity(),
    _number("tenant_id"),
    _reference("portfolio_id", "portfolios.id"),
    _reference("document_id", "documents.id"),
    _text("title"),
    Column("uri", Text),
    _text("text"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("content_hash", LargeBinary, nullable=False),
    _number("attempts", "0", Integer),
    Column("claimed_at", DateTime(timezone=True)),
    _now("created_at"),
    Index("ix_document_uploads_portfolio_id", "portfolio_id"),
    Index("ix_document_uploads_document_id", "document_id"),
)

rag_chunk = Table(
    "rag_chunk",
    metadata,
    _identity(),
    _number("tenant_id"),
    _number("portfolio_id"),
    _reference("document_id", "documents.id"),
    _number("ordinal", None, Integer),
    _number("start_char", None, Integer),
    _number("end_char", None, Integer),
    _text("text"),
    _text("tail", ""),
    Column("question", Text),
    _text("language"),
    _now("created_at"),
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
    _number("portfolio_id"),
    _number("tenant_id"),
    _number("length", None, Integer),
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
    _number("tenant_id"),
    _number("chunks", None, Integer),
)

rag_embedding = Table(
    "rag_embedding",
    metadata,
    Column("portfolio_id", BigInteger, primary_key=True),
    Column("chunk_id", BigInteger, primary_key=True),
    Column("encoder_id", Integer, ForeignKey("encoders.id"), primary_key=True),
    _number("tenant_id"),
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
    _number("tenant_id"),
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
    _now("used_at"),
    Index("ix_vector_cache_used_at", "used_at"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    _reference("agent_id", "agents.id"),
    _text("title"),
    _now("created_at"),
    _now("updated_at"),
    Column(
        "subject",
        Text,
        nullable=False,
        server_default=text("NULLIF(current_setting('app.subject', true), '')"),
    ),
    Column(
        "portfolios",
        ARRAY(BigInteger),
        server_default=text("NULLIF(current_setting('app.portfolios', true), '')::bigint[]"),
    ),
    Index("ix_conversations_tenant_id", "tenant_id", "subject", "updated_at", "id"),
    Index("ix_conversations_agent_id", "agent_id"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    _number("tenant_id"),
    _reference("conversation_id", "conversations.id", Uuid),
    Column("run_id", Uuid),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    _text("role"),
    _text("content"),
    _text("status"),
    _now("created_at"),
    Index("ix_messages_conversation_id", "conversation_id", "seq"),
)

citations = Table(
    "citations",
    metadata,
    _identity(),
    _number("tenant_id"),
    _reference("message_id", "messages.id", Uuid),
    _number("number", None, Integer),
    _number("document_id"),
    _number("chunk_id"),
    _text("title"),
    Column("uri", Text),
    _text("quote"),
    _number("start_char", None, Integer),
    _number("end_char", None, Integer),
    Column("score", Double, nullable=False),
    Index("ix_citations_message_id", "message_id", "number"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    _number("tenant_id"),
    _reference("agent_id", "agents.id"),
    _reference("conversation_id", "conversations.id", Uuid),
    Column("question_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    _text("status"),
    Column("cached", Boolean, nullable=False),
    _text("language"),
    _text("complexity"),
    Column("finish_reason", Text),
    Column("error_code", Text),
    Column("usage", JSONB, nullable=False),
    Column("timings_ms", JSONB, nullable=False),
    Column("degraded", ARRAY(Text), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    _now("alive_at"),
    Column("sources", JSONB, nullable=False, server_default="[]"),
    _number("top_k", "0", Integer),
    _number("max_tokens", "0", Integer),
    Index("ix_runs_streaming", "alive_at", postgresql_where=text("status = 'streaming'")),
    Index("ix_runs_agent_id", "agent_id"),
    Index("ix_runs_conversation_id", "conversation_id", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("run_id", Uuid, nullable=False),
    _now("created_at"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    _identity(),
    _number("tenant_id"),
    Column("at", DateTime(timezone=True), nullable=False),
    _text("subject"),
    _text("role"),
    _text("action"),
    _text("object_kind"),
    Column("object_id", Text),
    _text("result"),
    _number("status", None, SmallInteger),
    _number("count", "1", Integer),
    _text("request_id"),
    Column("address", Text),
    Index("ix_audit_log_at", "at"),
    Index("ix_audit_log_tenant_id", "tenant_id", "id"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    _number("answers", "0"),
    _number("prompt_tokens", "0"),
    _number("completion_tokens", "0"),
    Column("cost", Numeric, nullable=False, server_default="0"),
)

usage_reservations = Table(
    "usage_reservations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    _text("subject"),
    Column("day", Date, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    Index("ix_usage_reservations_expires_at", "tenant_id", "expires_at"),
    Index("ix_usage_reservations_open", "tenant_id", "day", postgresql_where=text("NOT settled")),
)
