"""What was done and what it cost."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from app.stores.schema.columns import identity, metadata, number, of_tenant, string

audit_log = Table(
    "audit_log",
    metadata,
    identity(),
    number("tenant_id"),
    Column("at", DateTime(timezone=True), nullable=False),
    string("subject"),
    string("role"),
    string("action"),
    string("object_kind"),
    Column("object_id", Text),
    string("result"),
    number("status", None, SmallInteger),
    number("count", "1", Integer),
    string("request_id"),
    Column("address", Text),
    Column("entry_id", Uuid),
    Index("ix_audit_log_at", "at"),
    Index("uq_audit_log_entry_id", "entry_id", unique=True),
    Index("ix_audit_log_tenant_id", "tenant_id", "id"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    number("answers", "0"),
    number("prompt_tokens", "0"),
    number("completion_tokens", "0"),
    Column("cost", Numeric, nullable=False, server_default="0"),
)

usage_reservations = Table(
    "usage_reservations",
    metadata,
    Column("id", Uuid, primary_key=True),
    of_tenant(),
    string("subject"),
    Column("day", Date, nullable=False),
    Column("cost", Numeric, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    Index("ix_usage_reservations_expires_at", "tenant_id", "expires_at"),
    Index("ix_usage_reservations_open", "tenant_id", "day", postgresql_where=text("NOT settled")),
)
