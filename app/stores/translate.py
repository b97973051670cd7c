"""From the drivers' errors to ours, by SQLSTATE."""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import AppError, Conflict, DatabaseUnavailable, InvalidInput, NotFound


class SchemaOutdated(DatabaseUnavailable):
    """The database does not have this version's tables; run `citestream migrate`."""


class NotThroughPooler(DatabaseUnavailable):
    """The address of the database is that of a pooler; set CITESTREAM_DATABASE__POOLER=true."""


# By the longest prefix of the SQLSTATE. Integrity errors are a caller's: names taken, ids gone.
BY_STATE: dict[str, type[AppError]] = {
    "08": DatabaseUnavailable,  # connection
    "08P01": NotThroughPooler,  # a parameter of the connection that PgBouncer does not know
    "22": InvalidInput,  # data: out of range, NUL, not UTF-8
    "23502": InvalidInput,  # not null
    "23503": NotFound,  # foreign key
    "23505": Conflict,  # unique
    "23514": InvalidInput,  # check
    "25006": DatabaseUnavailable,  # read only: a standby that is not promoted yet
    "28": DatabaseUnavailable,  # the server refuses this role or password
    "3D": DatabaseUnavailable,  # no such database
    "40": DatabaseUnavailable,  # deadlock or serialisation: retry
    "42703": SchemaOutdated,  # undefined column
    "42883": SchemaOutdated,  # undefined function
    "42P01": SchemaOutdated,  # undefined table
    "53": DatabaseUnavailable,  # out of connections, memory or disk
    "54": InvalidInput,  # too long for an index or a tsvector
    "57": DatabaseUnavailable,  # shutting down, starting up, cancelled
    "P0002": NotFound,  # raised by our functions for what the tenant does not have
}
MESSAGES: dict[type[AppError], str] = {
    InvalidInput: "A value cannot be stored: it is too long, out of range or not valid text.",
    Conflict: "That name is already taken; choose another.",
}


DRIVERS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    PoolTimeout,
    TimeoutError,
    OSError,
)


class _Translated:
    """A `with` block without state; no generator, as each statement goes through it."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: object
    ) -> None:
        found: BaseException | None
        if isinstance(error, DBAPIError):
            found = error.orig.__cause__ if error.orig else error
        elif isinstance(error, DRIVERS):
            found = error
        else:
            return
        if kind := meaning(found):
            raise kind(MESSAGES.get(kind)) from error


_TRANSLATED = _Translated()


def translated() -> _Translated:
    """Raise the drivers' errors as AppErrors with their cause; others pass as they are."""
    return _TRANSLATED


def meaning(error: BaseException | None) -> type[AppError] | None:
    """The AppError for a driver's error, None where it is a defect of ours."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return next((BY_STATE[state[:n]] for n in (5, 2) if state[:n] in BY_STATE), None)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return InvalidInput  # refused by the client: a lone surrogate, an int beyond bigint
    lost = (asyncpg.InterfaceError, asyncpg.InternalClientError, PoolTimeout, OSError)
    return DatabaseUnavailable if isinstance(error, (*lost, TimeoutError)) else None
