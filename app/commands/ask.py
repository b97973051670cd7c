"""`citestream ask`: one question in the terminal."""

import sys

from rich.console import Console
from rich.markup import escape

from app.bootstrap import Settings, open_engine
from app.chat.events import Done, Failed, Token
from app.errors import AppError


async def ask_once(question: str, agent: str, language: str | None) -> None:
    """Write the answer as it comes, then its sources; raises AppError where it fails."""
    console = Console(highlight=False)
    async with open_engine(Settings()) as engine:
        async for event in engine.stream(question, agent=agent, language=language):
            if isinstance(event, Token):
                sys.stdout.write(event.content)
                sys.stdout.flush()
            elif isinstance(event, Done):
                print_sources(console, event)
            elif isinstance(event, Failed):
                sys.stdout.write("\n")
                raise AppError(event.message)


def print_sources(console: Console, done: Done) -> None:
    """The numbered sources of an answer, and what it took."""
    console.print()
    if done.citations:
        console.print("\n[bold]Sources[/bold]")
    for citation in sorted(done.citations, key=lambda each: each.number):
        where = f" ({citation.uri})" if citation.uri else ""
        console.print(
            f"[bold]\\[{citation.number}][/bold] {escape(citation.title)}", end="", soft_wrap=True
        )
        console.print(f"{where}, characters {citation.start}–{citation.end}", markup=False)
        console.print(f"    “{' '.join(citation.quote.split())}”", style="dim", markup=False)
    cached = "cached, " if done.cached else ""
    console.print(f"\n{cached}{done.complexity}, {done.timings_ms['total']:.0f} ms", style="dim")
