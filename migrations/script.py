"""Running several SQL statements at once in a revision."""

from typing import Any

from alembic import op


def run_script(sql: str) -> None:
    """Run `sql`, many statements if need be, in the revision's transaction.

    SQLAlchemy prepares what it executes and Postgres prepares single statements only, so a
    script goes to the driver's own connection, on which Alembic's transaction is open.
    """
    adapted: Any = op.get_bind().connection.dbapi_connection
    adapted.run_async(lambda driver: driver.execute(sql))
