"""The example of `engine.cached`, run as it is documented."""

import asyncio
import sys
from pathlib import Path

from tests.support.command import Running, environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cached_function.py"


async def test_it_prints_what_it_says(running_service: Running) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env=environment(running_service.data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    asked = "asking the shop for"
    tea, coffee = "{'tea': 2.5}", "[{'coffee': 2.5}, {'coffee': 2.5}]"
    assert printed.decode().splitlines()[-7:] == [  # before it stands what the engine logs
        f"{asked} tea", tea, tea, f"{asked} coffee", coffee, f"{asked} tea", tea,
    ]  # fmt: skip
