"""What tables are made of."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    LargeBinary,
    MetaData,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import DOMAIN

# What is encrypted (app/vault). `citestream keys rotate` goes by it.
SEALED = DOMAIN("sealed", LargeBinary)

metadata = MetaData()


def identity() -> Column[int]:
    """Numbers that the database gives."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def of_tenant() -> Column[int]:
    """A top-level object's owner. What belongs to an object goes with the object instead."""
    return reference("tenant_id", "tenants.id")


def reference(name: str, target: str, kind: type = BigInteger) -> Column[int]:
    return Column(name, kind, ForeignKey(target, ondelete="CASCADE"), nullable=False)


def number(name: str, default: str | None = None, kind: type = BigInteger) -> Column[int]:
    return Column(name, kind, nullable=False, server_default=default)


def string(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
