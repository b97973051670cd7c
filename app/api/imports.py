"""Documents that a call names by their URL: fetched before the call is answered, all or none."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from app.api.schemas import MAX_DOCUMENTS, DocumentBody, PageBody
from app.errors import AppError, InvalidInput, TooLarge
from app.ingest.parse import file_uri
from app.ingest.ports import NewDocument, Reader
from app.outgoing.errors import PageUnavailable
from app.outgoing.fetch import Page, Pages

# The pages of a call are fetched by so many at once, and all of them within this time: the caller
# waits for it, and a page that takes longer is not worth it.
AT_ONCE = 4
SECONDS = 30.0
# The server's word decides what a page is, whatever its address ends with; but servers of files
# call Markdown plain text.
SUFFIXES = {"text/html": ".html", "text/markdown": ".md", "application/json": ".json"}
MARKDOWN = (".md", ".markdown")


async def import_documents(
    items: Sequence[DocumentBody | PageBody], pages: Pages, reader: Reader, max_bytes: int
) -> list[NewDocument]:
    """The documents of all items in order; pages have `max_bytes` at most, all together.

    Nothing is fetched where one of the URLs is refused at sight. What is wrong with an item is
    raised as it is (see `Pages.fetch` and `Reader.parse`), its message naming the item.
    """
    wanted = {place: item for place, item in enumerate(items) if isinstance(item, PageBody)}
    for place, page in wanted.items():
        with _naming(place):
            pages.check_url(page.url)
    found = await _fetch_all(wanted, pages, max_bytes)
    documents: list[NewDocument] = []
    for place, item in enumerate(items):
        if isinstance(item, DocumentBody):
            documents.append(item.document())
            continue
        with _naming(place):
            documents += await _read(item, found.pop(place), reader)
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidInput(f"Send at most {MAX_DOCUMENTS:,} documents at once.")
    return documents


async def _fetch_all(
    wanted: Mapping[int, PageBody], pages: Pages, max_bytes: int
) -> dict[int, Page]:
    """By the items' places. The first failure ends the others."""
    slots = asyncio.Semaphore(AT_ONCE)
    found: dict[int, Page] = {}

    async def fetch(place: int, url: str) -> None:
        async with slots:
            with _naming(place):
                found[place] = await pages.fetch(url)
        if sum(len(page.content) for page in found.values()) > max_bytes:
            raise TooLarge(f"The pages have more than {max_bytes:,} bytes together; send fewer.")

    try:
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for place, item in wanted.items():
                group.create_task(fetch(place, item.url))
    except TimeoutError as error:
        late = next((place for place in wanted if place not in found), 0)
        raise PageUnavailable(
            f"documents[{late}]: The page had not come after {SECONDS:g} seconds, in which all of "
            "a call must; send fewer, or try again."
        ) from error
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return found


async def _read(item: PageBody, page: Page, reader: Reader) -> list[NewDocument]:
    """The documents in a page: one, or as many as a JSON document lists."""
    name = _file_name(page)
    read = await reader.parse(name, page.content, page.media_type, MAX_DOCUMENTS)
    if item.title is not None and len(read) > 1:
        raise InvalidInput(f"The page has {len(read):,} documents; leave `title` out.")
    uri = item.uri or item.url
    return [
        replace(
            document,
            title=document.title if item.title is None else item.title,
            # A list has identities of its own; all that is known of others is the page's.
            uri=file_uri(uri, place) if document.uri == file_uri(name, place) else document.uri,
            metadata={**document.metadata, **item.metadata},
        )
        for place, document in enumerate(read)
    ]


def _file_name(page: Page) -> str:
    """What a file of the page would be called: by the last part of its path, or by its host."""
    parts = urlsplit(page.url)
    name = PurePosixPath(unquote(parts.path).replace("\0", "")).name or parts.hostname or "page"
    path = PurePosixPath(name)
    if path.suffix.lower() in MARKDOWN and page.media_type == "text/plain":
        return name
    suffix = SUFFIXES.get(page.media_type, ".txt")
    return name if path.suffix.lower() == suffix else f"{_stem(path)}{suffix}"


def _stem(path: PurePosixPath) -> str:
    """Without what looks like a file's suffix and not like a version's number."""
    return path.stem if path.suffix[1:].isalpha() else path.name


@contextmanager
def _naming(place: int) -> Iterator[None]:
    try:
        yield
    except AppError as error:
        raise type(error)(f"documents[{place}]: {error.message}") from error
