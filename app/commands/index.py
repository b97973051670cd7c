"""`citestream index`: the vector indexes that are due, with a progress bar."""

from collections.abc import Callable

from app.bootstrap import Settings, connected, open_indexes
from app.commands.progress import progress
from app.stores.vector_indexes import Building, Outcome


async def update_indexes(say: Callable[[str], None]) -> None:
    """Make what is missing, drop what is not needed, and wait for it."""
    with progress() as bar:
        task = bar.add_task("Looking", total=None)

        def show(building: Building) -> None:
            name = f"Portfolio {building.portfolio_id}"
            bar.update(task, description=name, completed=building.done, total=building.chunks)

        async with connected(
            Settings(), lambda line: bar.update(task, description=line)
        ) as settings:
            outcome = await open_indexes(settings).update(show)
    say(sentence(outcome))


def sentence(outcome: Outcome) -> str:
    """What was done, for who waited for it."""
    if not (outcome.built or outcome.dropped):
        return "Nothing to do: every portfolio has the index that it needs."
    return f"Vector indexes: {outcome.built} made, {outcome.dropped} dropped."
