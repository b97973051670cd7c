"""What revisions are written with: several SQL statements at once, and functions' rights."""

from typing import Any

from alembic import op


def run_script(sql: str) -> None:
    """Run `sql`, many statements if need be, in the revision's transaction.

    SQLAlchemy prepares what it executes and Postgres prepares single statements only, so a
    script goes to the driver's own connection, on which Alembic's transaction is open.
    """
    adapted: Any = op.get_bind().connection.dbapi_connection
    adapted.run_async(lambda driver: driver.execute(sql))


def drop_functions(*signatures: str) -> None:
    for signature in signatures:
        run_script(f"DROP FUNCTION {signature}")


def for_nobody(*signatures: str) -> None:
    """Leave functions to their owner."""
    for signature in signatures:
        run_script(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")


def for_the_service(*signatures: str) -> None:
    """Leave functions to their owner and the role that the service runs as."""
    for_nobody(*signatures)
    for signature in signatures:
        run_script(f"GRANT EXECUTE ON FUNCTION {signature} TO citestream_app")
