"""Pages of a list, and the cursors between them."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from app.chat.administration import Page
from app.errors import InvalidInput
from app.stores.database import MAX_ID

Row = TypeVar("Row")
Item = TypeVar("Item")

BAD_CURSOR = "`after` is not a cursor of this list; use the former page's `next`."


def page(
    rows: Sequence[Row], limit: int, item: Callable[[Row], Item], cursor: Callable[[Row], str]
) -> Page[Item]:
    """A page of `limit` items out of the `limit + 1` rows asked for."""
    shown = rows[:limit]
    return Page([item(row) for row in shown], cursor(shown[-1]) if len(rows) > limit else None)


def after_id(after: str | None) -> int:
    """The id that a page by id begins after, 0 for the first. Raises InvalidInput."""
    if after is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,19}", after, re.ASCII) or int(after) > MAX_ID:
        raise InvalidInput(BAD_CURSOR)
    return int(after)


def time_cursor(moment: datetime, key: UUID) -> str:
    """A cursor into a list by time: microseconds since 1970 and the row's id."""
    seconds, micros = int(moment.replace(microsecond=0).timestamp()), moment.microsecond
    return f"{seconds * 1_000_000 + micros}.{key.hex}"


def after_time(after: str) -> tuple[datetime, UUID]:
    """What `time_cursor` made a cursor of. Raises InvalidInput."""
    found = re.fullmatch(r"([0-9]{1,17})\.([0-9a-f]{32})", after, re.ASCII)
    if not found:
        raise InvalidInput(BAD_CURSOR)
    seconds, micros = divmod(int(found[1]), 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment, UUID(found[2])
