"""`citestream keys rotate`: what is encrypted under the newest key, with a progress bar."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.bootstrap import Settings, connected, rotate_keys
from app.commands.progress import progress
from app.stores.sealed import Rotated

MOST_NAMED = 20


async def rotate(say: Callable[[str], None]) -> bool:
    """Seal everything anew that another key than the first has sealed; whether all is."""
    with progress() as bar:
        task = bar.add_task("Starting", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, description="Encrypting", completed=done, total=total)

        async with _servers(lambda line: bar.update(task, description=line)) as live:
            rotated = await rotate_keys(live, show)
    for line in sentences(rotated):
        say(line)
    return rotated.settled and not rotated.undecryptable


@asynccontextmanager
async def _servers(say: Callable[[str], None]) -> AsyncIterator[Settings]:
    """The owner's address is all that is needed; without any, the data folder's own servers."""
    settings = Settings()
    if settings.database_owner_url is not None:
        yield settings
        return
    async with connected(settings, say) as live:
        yield live


def sentences(rotated: Rotated) -> list[str]:
    """What was done and what is left to do, for who waited for it."""
    every = rotated.resealed + rotated.newest + len(rotated.undecryptable)
    if every == rotated.newest:
        return [
            f"Nothing to do: all of {every} encrypted values are under the first key of "
            "AGENT_KMS_KEY."
        ]
    columns = "1 column" if rotated.columns == 1 else f"{rotated.columns} columns"
    lines = [
        f"{rotated.resealed} of {every} encrypted values in {columns} are now "
        f"under the first key of AGENT_KMS_KEY; {rotated.newest} were before."
    ]
    if not rotated.settled:
        lines.append(
            "Meanwhile others came in under a former key: put the new one first for every "
            "process, and call this again."
        )
    elif not rotated.undecryptable:
        lines.append("The former keys can be taken out once every process has the new one first.")
    if rotated.undecryptable:
        lines.append(
            f"{len(rotated.undecryptable)} cannot be decrypted with any of its keys. Add the key "
            "that is missing and call this again, or enter these values again:"
        )
        lines += [
            f"  {each.column} of {each.table} {each.row}, tenant {each.tenant_id}"
            for each in rotated.undecryptable[:MOST_NAMED]
        ]
    if len(rotated.undecryptable) > MOST_NAMED:
        lines.append("  …")
    return lines
