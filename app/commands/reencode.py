"""`citestream reencode`: portfolios to another encoder, with a progress bar."""

from collections.abc import Callable

from app.bootstrap import Settings, connected, open_reencoder
from app.commands.progress import progress
from app.ingest.reencode import Outcome


async def reencode_portfolios(
    portfolio: str | None, batch: int, say: Callable[[str], None]
) -> None:
    """Bring every portfolio, or those of this name, to the configured encoder."""
    with progress() as bar:
        task = bar.add_task("Starting", total=None)

        def show(description: str, done: int, total: int) -> None:
            bar.update(task, description=description, completed=done, total=total)

        async with (
            connected(Settings(), lambda line: bar.update(task, description=line)) as live,
            open_reencoder(live, batch) as reencoder,
        ):
            outcome = await reencoder.run(portfolio, show)
    say(sentence(outcome, reencoder.encoder))


def sentence(outcome: Outcome, encoder: str) -> str:
    """What was done, for who waited for it."""
    if not (outcome.switched or outcome.dropped):
        return f"Nothing to do: {encoder} serves already, and no other vectors are left."
    noun = "portfolio" if outcome.switched == 1 else "portfolios"
    return (
        f"{outcome.switched} {noun} switched to {encoder}: {outcome.added} vectors added, "
        f"{outcome.dropped} old ones dropped."
    )
