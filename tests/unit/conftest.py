"""A cache server of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.embedded.home import open_home
from app.embedded.valkey import Valkey
from tests.support.live import unique


@pytest.fixture
async def own_valkey(server_folder: Path) -> AsyncIterator[Valkey]:
    """A server that this test may stop and kill."""
    folder = server_folder / unique("valkey")
    folder.mkdir(mode=0o711)
    valkey = Valkey(open_home(folder), folder)
    await valkey.start()
    yield valkey
    valkey.stop()
