"""Commands that ask."""

from typing import Annotated

import typer

from app.cli.running import complete, say

group = typer.Typer()

AgentOption = Annotated[str, typer.Option(help="The agent that answers, by name.")]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language of the answer, e.g. en or es; default: as asked.")
]


@group.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    agent: AgentOption = "default",
    portfolio: Annotated[
        str | None, typer.Option(help="What to answer from, by name; default: the agent's.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="The name of the tenant.")] = "default",
    language: LanguageOption = None,
) -> None:
    """Ask in the terminal: the answer as it is written, then its sources."""
    from app.commands.ask import ask_once

    complete(ask_once(question, tenant, agent, portfolio, language))


@group.command()
def warm(
    agent: Annotated[
        str | None, typer.Option(help="Only this agent, by name or id; default: all.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=1000, help="How many questions of each agent.")
    ] = 50,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Asked in the last days.")] = 30,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Asked at a time.")] = 2,
) -> None:
    """Ask the most frequent questions in advance, so that their answers are cached.

    For after an invalidation or a change of documents. Only what is not cached costs anything;
    no conversation and no run is stored. Follow-ups are left out.
    """
    from app.commands.warm import warm_caches

    worked = complete(warm_caches(agent, top, days, concurrency, say))
    raise typer.Exit(0 if worked else 1)
