"""Commands for who may use the service."""

from typing import Annotated, Literal

import typer

from app.cli.running import complete, say

group = typer.Typer()
users = typer.Typer(help="Who may sign in to a tenant.")

Email = Annotated[str, typer.Argument(help="The address that an issuer's tokens say.")]
Tenant = Annotated[str, typer.Option(help="The name of the tenant.")]


@group.command()
def token(
    user: Annotated[str, typer.Option(help="Whose: the address of a user.")],
    tenant: Annotated[
        str | None, typer.Option(help="The tenant's name, for a user of several.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="For how long it is good.")] = 8,
) -> None:
    """Make a token (JWT) of a user and print it.

    CITESTREAM_AUTH__SECRET signs it; `run` has one of its own in its data folder. Where another
    issuer signs tokens, CITESTREAM_AUTH__JWKS_URL names its keys. docs/security.md has more.
    """
    from app.commands.token import make_token

    print(complete(make_token(user, tenant, hours)))


@users.command("add")
def user_add(
    email: Email,
    tenant: Annotated[str, typer.Option(help="The tenant; made when new.")] = "default",
    role: Annotated[
        Literal["owner", "admin", "member"],
        typer.Option(help="Owners and admins administer; a member asks."),
    ] = "member",
    name: Annotated[str, typer.Option(help="How they are called.")] = "",
) -> None:
    """Add a user to a tenant."""
    from app.commands.user import add_user

    added = complete(add_user(email, tenant, role, name))
    say(f"{added.email} is {added.role} in the tenant {tenant}.")


@users.command("list")
def user_list(tenant: Tenant = "default") -> None:
    """List a tenant's users."""
    from app.commands.user import list_users, print_users

    print_users(complete(list_users(tenant)))


@users.command("disable")
def user_disable(email: Email, tenant: Tenant = "default") -> None:
    """Refuse every credential of a user from now on: tokens, keys and sessions."""
    from app.commands.user import disable_user

    disabled = complete(disable_user(email, tenant))
    say(f"{disabled.email} is disabled in the tenant {tenant}.")
