"""The process in which hostile bytes are read: `python -m app.ingest.confined FD`.

It knows no secret and no tenant: it imports what the jobs need, lowers its limits, and forks for
every job that comes over the socket FD. So each document has a process of its own that began
clean, may take so much memory and time, and is gone after it; a fork takes a few milliseconds.
The kernel keeps the limits: an alarm and a bound on CPU time end the process in the middle of
whatever it does.
"""

import gc
import os
import resource
import signal
import socket
import sys
from typing import Any

import orjson

from app.ingest.jobs import perform

MEMORY_BYTES = 512 * 1024 * 1024  # of address space, of which the interpreter takes 60 MB
SECONDS = 30
OPEN_FILES = 16
# Before each of the two parts of a request and before the reply.
LENGTH_BYTES = 8
BEGUN = b"+"  # said by a process that has its job: what fails from here on is the job's doing


def serve(control: socket.socket) -> None:
    """Fork for every connection that comes, until the service is gone; then end all of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        _, received, _, _ = socket.recv_fds(control, 1, 1)
        if not received:
            os.killpg(0, signal.SIGKILL)
        try:
            child = os.fork()
        except OSError:
            child = -1  # who waits sees its connection end before anything has begun
        if child == 0:
            control.close()
            work(socket.socket(fileno=received[0]))
        os.close(received[0])


def work(connection: socket.socket) -> None:
    """Do one job and end."""
    status = 1
    gc.disable()  # it would look through millions of values again and again; all goes at the end
    try:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        connection.sendall(BEGUN)
        request: dict[str, Any] = orjson.loads(receive(connection))
        reply = perform(request["job"], request["options"], receive(connection))
        connection.sendall(len(reply).to_bytes(LENGTH_BYTES) + reply)
        status = 0
    finally:
        os._exit(status)


def receive(connection: socket.socket) -> bytes:
    """One part of a request."""
    size = int.from_bytes(exactly(connection, LENGTH_BYTES))
    return bytes(exactly(connection, size))


def exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = connection.recv_into(view[done:])
        if not got:
            os._exit(1)  # whoever asked is gone
        done += got
    return data


def confine(memory_bytes: int) -> None:
    """Lower this process's limits, for good, and keep it silent: what a parser prints may quote
    the document."""
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    os.close(silent)
    for kind, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (bound, bound))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is the service's: it ends this
    confine(MEMORY_BYTES)
    serve(socket.socket(fileno=int(sys.argv[1])))
