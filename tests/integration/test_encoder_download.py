"""Fetching a model from a hub that does not behave."""

import asyncio
import os
import socket
from pathlib import Path

from tests.support.encoder import encoder_process


async def test_a_hub_that_accepts_and_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hole.getsockname()[1]}",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HOME": str(tmp_path),
        }
        options = ("--port", "0", "--model", "nobody/none")
        async with encoder_process(*options, wait=False, env=environment) as (process, _):
            _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "the hub that has it cannot be reached" in errors.decode().splitlines()[-1]
    assert b"Traceback" not in errors
