"""The tables as SQLAlchemy sees them; `migrations/` makes them, a test compares the two.

Row level security, functions, partitions and HNSW indexes are the migrations' alone.
"""

from app.stores.schema.accounts import audit_log, usage_daily, usage_reservations
from app.stores.schema.chat import (
    agents,
    citations,
    conversations,
    idempotency_keys,
    messages,
    runs,
)
from app.stores.schema.columns import metadata
from app.stores.schema.identity import api_keys, portfolio_access, tenants, users
from app.stores.schema.library import document_uploads, documents, encoders, portfolios
from app.stores.schema.search import (
    PARTITION_PREFIX,
    rag_chunk,
    rag_embedding,
    rag_frequencies,
    rag_mention,
    rag_terms,
    vector_cache,
)

__all__ = [
    "PARTITION_PREFIX",
    "agents",
    "api_keys",
    "audit_log",
    "citations",
    "conversations",
    "document_uploads",
    "documents",
    "encoders",
    "idempotency_keys",
    "messages",
    "metadata",
    "portfolio_access",
    "portfolios",
    "rag_chunk",
    "rag_embedding",
    "rag_frequencies",
    "rag_mention",
    "rag_terms",
    "runs",
    "tenants",
    "usage_daily",
    "usage_reservations",
    "users",
    "vector_cache",
]
