"""`citestream ask`: one question in the terminal."""

import sys

from rich.console import Console
from rich.markup import escape

from app.chat.events import Done, Failed, Token
from app.commands.portfolios import known_portfolio
from app.commands.tenants import open_tenant
from app.errors import AppError


async def ask_once(
    question: str, tenant: str, agent: str, portfolio: str | None, language: str | None
) -> None:
    """Write the answer as it comes, then its sources; raises AppError where it fails.

    A `portfolio` is searched in the place of the agent's."""
    console = Console(highlight=False)
    async with open_tenant(tenant) as (services, scope):
        searched = None
        if portfolio is not None:
            searched = await known_portfolio(services, scope, portfolio)
        events = services.engine.stream(
            question, agent=agent, portfolio_id=searched, language=language, scope=scope
        )
        async for event in events:
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
