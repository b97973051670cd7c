"""Alembic's environment: migrates over the connection that `app.stores.migrate` hands in.

There is no offline mode and no logging configuration here: the application owns both the
connection (with its advisory lock) and its logs.
"""

from alembic import context

from app.stores.schema import PARTITION_PREFIX, metadata


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the partitions: they follow their parent and are made by a revision."""
    return not (kind == "table" and (name or "").startswith(PARTITION_PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=include_name,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
