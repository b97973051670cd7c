"""The encoder's address: bound before the model loads, so that a taken one is told at once."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


class AddressUnusable(Exception):
    """The address cannot be listened on; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the URL that clients use."""

    socket: socket.socket
    url: str
    path: Path | None = None
    file: os.stat_result | None = None

    def close(self) -> None:
        self.socket.close()
        if self.path is None or self.file is None:
            return
        # Not one that somebody else has put there since ours was removed.
        with suppress(OSError):
            if os.path.samestat(self.file, self.path.lstat()):
                self.path.unlink()


def bind(host: str, port: int, uds: str | None) -> Listener:
    """Bind to a unix socket where one is named, else to TCP. Raises AddressUnusable."""
    return _bind_unix(Path(uds)) if uds else _bind_tcp(host, port)


def _bind_tcp(host: str, port: int) -> Listener:
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two sockets can be bound to one address while neither listens.
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressUnusable(
                f"Port {port} on {host} is in use by another program; stop it or choose "
                "another with --port."
            ) from error
        raise AddressUnusable(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    name = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(listener, f"http://{name}:{listener.getsockname()[1]}")


def _bind_unix(path: Path) -> Listener:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _alone_in(path.parent):
            if path.is_socket():
                if _answers(path):
                    raise AddressUnusable(f"The socket {path} is in use by another encoder.")
                path.unlink()  # left behind by one that was killed
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(2048)
        file = path.lstat()
    except AddressUnusable:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        reason = "the path is too long" if error.errno is None else error.strerror
        if error.errno == errno.EADDRINUSE:
            reason = "the path is taken by something that is not a socket"
        raise AddressUnusable(f"Cannot listen on {path}: {reason}.") from error
    return Listener(listener, f"unix://{quote(str(path.absolute()))}", path, file)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Of two that are started at once one must not remove the socket that the other has just made
    in the place of one left behind. The kernel releases the lock of a process that dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # its backlog is full, or it is somebody else's: it is alive
            return True
    return True
