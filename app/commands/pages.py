"""Lists that come a page at a time, as a whole."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from app.chat.administration import Page

PAGE = 200

Item = TypeVar("Item")


async def every(read: Callable[[int, str | None], Awaitable[Page[Item]]]) -> AsyncIterator[Item]:
    """The items of all pages; `read` is given how many there may be on one and where it begins."""
    after: str | None = None
    while True:
        page = await read(PAGE, after)
        for item in page.items:
            yield item
        if (after := page.next) is None:
            return
