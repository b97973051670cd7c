"""Commands on the keys that tenants entrust to the service."""

import typer

from app.cli.running import complete, say

group = typer.Typer(help="The provider keys of agents, which AGENT_KMS_KEY encrypts.")


@group.callback()
def _grouped() -> None:
    """`citestream keys` alone is no command."""


@group.command()
def rotate() -> None:
    """Encrypt every stored key anew under the first key of AGENT_KMS_KEY.

    Needs DATABASE_OWNER_URL, and AGENT_KMS_KEY with the new key first and the former ones behind
    it. The service may go on with the same keys. Interrupted, call it again: it goes on.
    """
    from app.commands.keys import rotate as rotate_all

    whole = complete(rotate_all(say))
    raise typer.Exit(0 if whole else 1)
