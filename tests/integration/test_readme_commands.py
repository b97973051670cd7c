"""The README's own commands, word for word, on a new installation."""

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

from tests.support.command import environment, running, with_models

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SECONDS = 120


def shell_of(section: str) -> str:
    """The commands of a section for the second terminal."""
    start = README.index(f"\n## {section}\n")
    text = README[start : README.index("\n## ", start + 1)]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "".join(block for block in blocks if "make run" not in block)


async def typed(script: str, data: Path, cwd: Path) -> tuple[int, list[str]]:
    """What bash prints of the commands; `citestream` is on its path."""
    command = cwd / "bin" / "citestream"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m app.cli "$@"\n')
    command.chmod(0o755)
    env = environment(data, PATH=f"{command.parent}:{os.environ['PATH']}")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=env, cwd=cwd, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(SECONDS):
        printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode().splitlines()


async def test_ones_own_documents_and_a_teams_are_answered_from(
    server_folder: Path, exports: Path, tmp_path: Path
) -> None:
    data = with_models(server_folder / "readme", exports)
    async with running(data) as service:

        async def follow(section: str) -> tuple[int, list[str]]:
            shell = shell_of(section).replace("http://127.0.0.1:8000", service.url)
            return await typed(shell, data, tmp_path)

        status, own = await follow("Your own documents")
        assert status == 0, own
        assert any(line.endswith("in portfolio “team” (id 2).") for line in own), own
        text = "\n".join(own)
        assert text.count("Everyone has 30 days of leave a year. [1]") == 2, text
        assert "The car park opens at seven. [1]" in text

        status, team = await follow("For a team")
        text = "\n".join(team)
        assert status == 1, text  # that of `citestream check`, which comes last
        assert "in portfolio “handbook” (id 3)." in text
        assert "Expenses are paid back within ten days. [1]" in text
        assert "ada@example.com is admin in the tenant acme." in text
        assert [line for line in team if re.fullmatch(r"cs_\S{43}", line)], text
        assert [line for line in team if re.fullmatch(r"eyJ[\w.-]+", line)], text
        assert not [line for line in (*own, *team) if line.startswith("citestream: ")]
