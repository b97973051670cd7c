"""Users and their tokens on the command line, at a service that runs."""

import stat
from pathlib import Path

import httpx2
import pytest

from app.embedded import Servers
from app.embedded.secrets import kept_secret
from tests.support.command import Running, environment, output_of, running, with_models
from tests.support.forking import Output
from tests.support.tokens import Issuer, claims, handmade

ADA, SOME = "ada@example.com", "bob@example.com"


async def printed(
    service: Running, *arguments: str, status: int = 0, by: Output = output_of
) -> str:
    ended, output = await by(*arguments, env=environment(service.data))
    assert ended == status, output
    assert "Traceback" not in output
    return output.strip()


async def answered(service: Running, token: str) -> int:
    """The status of a list of agents, asked for with the token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
        return (await http.get("/api/agents", headers=headers)).status_code


async def test_a_users_token_is_good_until_the_user_is_disabled(
    running_service: Running, forked: Output
) -> None:
    service = running_service
    added = await printed(service, "user", "add", "Ada@Example.com", "--role", "admin")
    assert added == f"{ADA} is admin in the tenant default."
    token = await printed(service, "token", "--user", ADA)
    assert token.count(".") == 2, "a script takes the whole output as the token"
    assert await answered(service, token) == 200
    disabled = await printed(service, "user", "disable", ADA)
    assert disabled == f"{ADA} is disabled in the tenant default."
    assert await answered(service, token) == 401
    assert "There is no user" in await printed(service, "token", "--user", ADA, status=1, by=forked)
    listed = await printed(service, "user", "list")
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [[ADA, "admin"]]
    assert listed.endswith("disabled")


async def test_a_user_of_another_tenant_sees_that_one_only(
    running_service: Running, forked: Output
) -> None:
    service, globex = running_service, ("--tenant", "globex")
    await printed(service, "user", "add", SOME, *globex, "--role", "owner", by=forked)
    token = await printed(service, "token", "--user", SOME, *globex, "--hours", "1", by=forked)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False) as http:
        agents = await http.get("/api/agents", headers=headers)
    assert agents.json() == {"items": [], "next": None}
    twice = await printed(service, "user", "add", SOME, *globex, status=1, by=forked)
    assert "already" in twice


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("token", "--user", "nobody@example.com"), "citestream user add"),
        (("token", "--user", ADA, "--tenant", "nowhere"), "in the tenant nowhere"),
        (("user", "list", "--tenant", "nowhere"), "There is no such tenant."),
        (("user", "disable", "nobody@example.com"), "There is no such user."),
        (("user", "add", "no address"), "`email` must be"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    running_service: Running, forked: Output, arguments: tuple[str, ...], says: str
) -> None:
    output = await printed(running_service, *arguments, status=1, by=forked)
    assert output.splitlines()[-1].startswith("citestream: ")
    assert says in output


async def test_tokens_of_nobodys_making_are_refused(running_service: Running) -> None:
    header = {"alg": "HS256", "typ": "JWT"}
    own = {"iss": "citestream"}
    secret = kept_secret(running_service.data, "auth").encode()
    mode = (running_service.data / "secrets" / "auth").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    for token in (
        handmade({"alg": "none"}, claims(**own)),
        handmade(header, claims(**own), b"another secret of thirty-two bytes"),
        handmade({**header, "crit": ["exp"]}, claims(**own), secret),
        handmade(header, claims(**own, aud="another"), secret),
        handmade(header, claims(**own, exp=1), secret),
        handmade(header, claims(**own, email="nobody@example.com"), secret),
        Issuer().token(**own),
        "..",
    ):
        assert await answered(running_service, token) == 401


async def test_every_worker_has_the_data_folders_secret(
    running_service: Running, forked: Output, server_folder: Path, exports: Path
) -> None:
    data = with_models(server_folder / "workers", exports)
    async with running(data, CITESTREAM_WORKERS="2") as service:
        await printed(service, "user", "add", ADA, by=forked)
        token = await printed(service, "token", "--user", ADA, by=forked)
        statuses = [await answered(service, token) for _ in range(8)]  # each over a new connection
    assert set(statuses) == {200}


async def test_without_a_secret_there_are_no_tokens(
    running_service: Running, forked: Output, servers: Servers
) -> None:
    env = environment(running_service.data, DATABASE_URL=servers.app_url)
    status, output = await forked("token", "--user", ADA, env=env)
    assert status == 1
    assert "citestream: Set CITESTREAM_AUTH__SECRET" in output


async def test_another_issuers_keys_need_its_name(running_service: Running, forked: Output) -> None:
    url = {"CITESTREAM_AUTH__JWKS_URL": "http://127.0.0.1:9/keys"}
    env = environment(running_service.data, **url)
    status, output = await forked("user", "list", env=env)
    assert status == 1
    assert "CITESTREAM_AUTH__ISSUER" in output
