"""`citestream key` as a user types it."""

import httpx2

from tests.support.command import Running, environment, output_of
from tests.support.forking import Output
from tests.support.live import unique


async def test_keys_are_made_with_rights_listed_and_revoked(
    running_service: Running, forked: Output
) -> None:
    env, tenant = environment(running_service.data), unique("tenant")
    of_tenant = ("--tenant", tenant)

    async def run(*arguments: str, status: int = 0, by: Output = forked) -> str:
        ended, printed = await by(*arguments, env=env)
        assert ended == status, printed
        return printed.strip()

    owner = await run("key", *of_tenant, "--name", "first")
    await run("user", "add", "Ada@Example.com", *of_tenant, "--role", "admin")
    made = ("key", *of_tenant, "--user", "ada@example.com", "--expires", "2999-01-31")
    adas = await run(*made)
    assert "no more rights" in await run(*made, "--role", "owner", status=1)
    assert "no portfolio 'x'" in await run("key", *of_tenant, "--portfolio", "x", status=1)
    async with httpx2.AsyncClient(base_url=running_service.url, trust_env=False) as http:

        async def keys(key: str) -> httpx2.Response:
            return await http.get("/api/keys", headers={"Authorization": f"Bearer {key}"})

        listed = (await keys(adas)).json()["items"]
        assert [each["role"] for each in listed] == ["owner", "admin"]
        assert listed[1]["expires_at"].startswith("2999-01-31T00:00:00")
        printed = await run("key", "list", *of_tenant, by=output_of)
        assert adas[-4:] in printed and adas not in printed and owner not in printed
        assert "behind revoke" in await run("key", *of_tenant, "revoke", "1", status=2)
        await run("key", "revoke", str(listed[1]["id"]), *of_tenant, by=output_of)
        assert (await keys(adas)).status_code == 401
