"""`citestream key`: API keys."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from app.cli.running import complete, say

group = typer.Typer(invoke_without_command=True)

Tenant = Annotated[str, typer.Option(help="The name of the tenant.")]


@group.callback()
def key(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="The tenant; made when new.")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "cli",
    role: Annotated[
        Literal["owner", "admin", "member"] | None,
        typer.Option(help="Default: the user's; member with --portfolio; else owner."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose it is, by the address; default: nobody's.")
    ] = None,
    portfolio: Annotated[
        list[str] | None,
        typer.Option(help="The only portfolio that it may use, by name; several, if repeated."),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(help="When it ends, in UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    ] = None,
) -> None:
    """Make an API key of a tenant and print it, this once."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from app.commands.key import Wanted, make_key

    expires_at = expires and expires.replace(tzinfo=UTC)
    wanted = Wanted(name, role, user, portfolio or (), expires_at)
    print(complete(make_key(tenant, wanted)))


def _refuse_options(context: typer.Context) -> None:
    """A tenant that is named before the subcommand would not be its."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name} belongs behind {context.invoked_subcommand}.")


@group.command("list")
def key_list(tenant: Tenant = "default") -> None:
    """List a tenant's API keys, each by its last four characters."""
    from app.commands.key import list_keys, print_keys

    print_keys(complete(list_keys(tenant)))


@group.command("revoke")
def key_revoke(
    key_id: Annotated[int, typer.Argument(help="Its id, as `list` has it.")],
    tenant: Tenant = "default",
) -> None:
    """Revoke an API key, with every session that was opened with it."""
    from app.commands.key import revoke_key

    complete(revoke_key(tenant, key_id))
    say(f"The key {key_id} is revoked.")
