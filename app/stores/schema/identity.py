"""Who there is, and what each may see."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.stores.schema.columns import identity, metadata, moment, number, of_tenant, string

tenants = Table(
    "tenants",
    metadata,
    identity(),
    string("name"),
    number("cache_epoch", "0"),
    moment("created_at"),
    UniqueConstraint("name", name="uq_tenants_name"),
)

users = Table(
    "users",
    metadata,
    identity(),
    of_tenant(),
    string("email"),
    string("role"),
    string("name", ""),
    Column("disabled_at", DateTime(timezone=True)),
    Column("tokens_after", DateTime(timezone=True)),
    moment("created_at"),
    UniqueConstraint("tenant_id", "email", name="uq_users_tenant_id_email"),
    Index("ix_users_email", "email"),
)

api_keys = Table(
    "api_keys",
    metadata,
    identity(),
    of_tenant(),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE")),
    string("name"),
    string("role"),
    Column("key_hash", LargeBinary, nullable=False),
    string("last4"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    moment("created_at"),
    string("kind", "key"),
    Column("parent_id", BigInteger, ForeignKey("api_keys.id", ondelete="CASCADE")),
    Column("portfolio_ids", ARRAY(BigInteger)),
    UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
    Index("ix_api_keys_parent_id", "parent_id"),
    Index("ix_api_keys_tenant_id", "tenant_id"),
    Index("ix_api_keys_user_id", "user_id"),
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
    of_tenant(),
    Column("readers", ARRAY(Text)),
    Column("writers", ARRAY(Text), nullable=False, server_default="{}"),
    Index("ix_portfolio_access_tenant_id", "tenant_id"),
)
