"""`citestream warm`: answers to the most frequent questions into the cache, with a progress bar."""

from collections.abc import Callable

from rich.markup import escape

from app.bootstrap import Settings, build_services, connected, open_warmer
from app.chat.warming import FAILURES_IN_A_ROW, Outcome, Warmed
from app.commands.progress import progress
from app.errors import Unavailable


async def warm_caches(
    agent: str | None, top: int, days: int, concurrency: int, say: Callable[[str], None]
) -> bool:
    """Ask each agent's most frequent questions in advance; whether all of them worked.

    Raises AppError where too many fail in a row, and before any is asked where nothing could be
    kept.
    """
    with progress() as bar:
        task = bar.add_task("Starting", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=f"“{escape(name)}”", completed=done, total=total)

        async with (
            connected(Settings(), lambda line: bar.update(task, description=line)) as live,
            build_services(live) as services,
            open_warmer(live, services.engine) as warmer,
        ):
            if (await services.readiness())["redis"] != "ok":
                raise Unavailable("There is no cache to warm: Redis does not answer.")
            scope = await services.credentials.default_scope()
            outcome = await warmer.run(scope, agent, top, days, concurrency, show)
    say(sentence(outcome))
    if outcome.stopped:
        raise Unavailable(
            f"Stopped after {FAILURES_IN_A_ROW} failures in a row: {outcome.stopped.message}"
        ) from outcome.stopped
    return outcome.failed == 0


def sentence(outcome: Outcome) -> str:
    """What was done, for who waited for it."""
    if not (outcome.counts or outcome.failed):
        return "Nothing to do: no question was answered in this time."
    counted = [f"{outcome.counts[each]} {each}" for each in Warmed]
    return f"{', '.join(counted)}, {outcome.failed} failed."
