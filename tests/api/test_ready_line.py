"""What `run` and `serve` say once they answer."""

from app.commands.foreground import ready_line
from tests.support.api_fakes import World


async def test_where_everybody_needs_a_key_it_is_said_how_to_make_one() -> None:
    async with World(anonymous_owner=False).services() as services:
        line = await ready_line(services, "0.0.0.0", 8432)
    assert line.startswith("Citestream is ready: http://0.0.0.0:8432 ")
    assert line.endswith("citestream key --tenant default")


async def test_on_a_loopback_address_it_is_a_request_that_works() -> None:
    async with World().services() as services:
        line = await ready_line(services, "127.0.0.1", 8432)
    assert "curl -N http://127.0.0.1:8432/api/agents/1/chat/stream " in line
    assert "citestream key" not in line
