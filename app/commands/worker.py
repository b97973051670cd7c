"""One of several API processes: how it is started, what it does, and what the two say.

`python -m app.commands.worker LISTENER SHARES COUNT SLOT [first]` serves on a socket and with the
shares of COUNT processes, whose descriptors it inherits. It tells its parent a word and a text a
line on its standard output; its log is the parent's. A signal, or the end of its standard input,
makes it drain: where a supervisor signals every process there is, the parent's own signal is one
too many, so only a byte on its input means "at once".
"""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from app.accepting import Place
from app.commands.cycles import put_off
from app.commands.ending import Ending
from app.serving import signals
from app.settings import Settings
from app.settings.secrets import secrets_of
from app.shares import Shares, ledger
from app.telemetry import configure_logging

# The words: a line for the user, the same once requests are answered, and why it ends.
SAY, READY, FAILED = "say", "ready", "failed"
FIRST = "first"
AT_ONCE = b"!"

# Of the worker in this slot, which is the first of all or not.
Start = Callable[[int, bool], Awaitable[Process]]


def starter(settings: Settings, listener: socket.socket, shares: int, *, embedded: bool) -> Start:
    """Starts workers on the socket, with the descriptor of their shares. The first one on
    `embedded` servers migrates their database and gives it the sample documents."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **(_of_embedded(settings) if embedded else {})}
    if settings.profile is not None:
        environment["CITESTREAM_PROFILE"] = settings.profile

    async def start(slot: int, first: bool) -> Process:
        descriptors = [listener.fileno(), shares]
        numbers = [*descriptors, settings.workers, slot]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder `app` where the user happens to be is another program's
            "-m",
            __name__,
            *map(str, numbers),
            *([FIRST] if first and embedded else []),
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C in the terminal is for the parent
        )

    return start


def _of_embedded(settings: Settings) -> dict[str, str]:
    """Addresses of embedded servers and secrets of their data folder, as variables: workers read
    their settings like everybody."""
    values = {
        "DATABASE_URL": settings.database_url,
        "DATABASE_OWNER_URL": settings.database_owner_url,
        "REDIS_URL": settings.redis_url,
        "CITESTREAM_ENCODER__URL": settings.encoder.url,
    }
    secrets = {"AGENT_KMS_KEY": settings.kms_keys, "CITESTREAM_AUTH__SECRET": settings.auth.secret}
    values |= {name: value.get_secret_value() for name, value in secrets.items() if value}
    return {name: value for name, value in values.items() if value is not None}


def main() -> None:
    """Serve until told to stop; a failure that a sentence explains is told to the parent."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(*map(int, sys.argv[1:5]), first=FIRST in sys.argv[5:]))
    except Exception as error:
        from app.commands.failures import sentence

        line = sentence(error)
        if line is None:
            raise
        _tell(FAILED, line)
        raise SystemExit(1) from None


async def _serve(listener: int, shares: int, count: int, slot: int, *, first: bool) -> None:
    put_off()
    settings = Settings()
    configure_logging(settings.log_level, one_of_several=True, secrets=secrets_of(settings))
    ending = Ending()
    drain = _once(ending.stop)
    with ending.awaited(), signals(drain), socket.socket(fileno=listener) as listening:
        asyncio.get_running_loop().add_reader(0, _obey, drain, ending.stop)
        from app.commands.foreground import serve_until_stopped

        await serve_until_stopped(
            settings,
            listening,
            ending.serves,
            lambda line: _tell(SAY, line),
            lambda line: _tell(READY, line),
            embedded=first,
            place=Place(Shares(shares, count), slot),
            ledger=ledger(shares, count, slot),
        )


def _obey(drain: Callable[[], None], stop: Callable[[], None]) -> None:
    """Do what the parent says, or what its end means."""
    drain()
    if os.read(0, 1):
        stop()
    else:
        asyncio.get_running_loop().remove_reader(0)


def _once(stop: Callable[[], None]) -> Callable[[], None]:
    done = False

    def stop_once() -> None:
        nonlocal done
        if not done:
            done = True
            stop()

    return stop_once


def _tell(word: str, text: str) -> None:
    with suppress(BrokenPipeError):  # the parent has ended, and so will this
        os.write(1, f"{word} {' '.join(text.splitlines())}\n".encode())


if __name__ == "__main__":
    main()
