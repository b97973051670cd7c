"""What commands print of names that others chose."""

import io
from dataclasses import replace

from rich.console import Console

from app.chat.events import Done
from app.commands.ask import print_sources
from app.commands.ingest import complain
from tests.support.core import Core


def printed() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=200), text


async def test_brackets_in_a_documents_title_are_text() -> None:
    core = Core()
    core.retriever.passages = [
        replace(each, title="Notes [/draft] [red]") for each in core.retriever.passages
    ]
    done = (await core.engine().ask("What is where?")).done
    assert isinstance(done, Done)
    console, text = printed()
    print_sources(console, done)
    assert "[1] Notes [/draft] [red], characters 0–19" in text.getvalue()


def test_brackets_in_a_files_name_are_text() -> None:
    console, text = printed()
    complain(console, "notes [draft].md", "The file [/x] is not UTF-8.")
    assert text.getvalue() == "notes [draft].md: The file [/x] is not UTF-8.\n"
