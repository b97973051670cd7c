"""A real PgBouncer in transaction mode before the session's Postgres."""

import asyncio
import os
import pwd
import shutil
import socket
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.waiting import until

CONFIGURATION = """
[databases]
* = host={host}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


def program() -> str:
    """Where PgBouncer is; Debian's is in no user's PATH."""
    named = os.environ.get("PGBOUNCER_PROGRAM")
    found = named or shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    assert found, "No PgBouncer found: install Debian's or set PGBOUNCER_PROGRAM to its path."
    return found


@asynccontextmanager
async def pooler(app_url: str, size: int = 2) -> AsyncIterator[str]:
    """The address of the same database, as the same role, through `size` connections in all."""
    parts = urlsplit(app_url)
    [host] = parse_qs(parts.query)["host"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text(f'"{parts.username}" ""\n')
        (folder / "ini").write_text(
            CONFIGURATION.format(host=host, port=port, folder=folder, size=size)
        )
        # It refuses to be root; the server's own account may enter the folder of its socket.
        user = ("-u", pwd.getpwuid(Path(host).stat().st_uid).pw_name) if os.getuid() == 0 else ()
        process = await asyncio.create_subprocess_exec(
            program(), "-q", *user, str(folder / "ini"), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        try:
            await until(lambda: _listens(port) or process.returncode is not None)
            assert process.returncode is None, await process.communicate()
            yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
