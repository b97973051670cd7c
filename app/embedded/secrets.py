"""Secrets that a data folder keeps for its own service, each made when it is first asked for.

They are worth as much as the database beside them: a backup of one without the other is no backup.
"""

import fcntl
import os
from base64 import b64encode
from pathlib import Path

from app.embedded.process import EmbeddedError

SECRET_BYTES = 32
FOLDER = "secrets"


def kept_secret(folder: Path, name: str) -> str:
    """The secret of this name in the data folder: 32 random bytes in base64, the same ever after,
    whoever asks first and however many ask at the same time.

    The file is for its owner only, and is refused where others could have read or changed it.
    Raises EmbeddedError.
    """
    path = folder / FOLDER / name
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedError(f"The secret {path} cannot be kept: {error.strerror}.") from error
    with os.fdopen(descriptor, "r+") as file:
        _check_private(path, descriptor)
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed: one of several makes it
        secret = file.read().strip()
        if not secret:
            secret = b64encode(os.urandom(SECRET_BYTES)).decode()
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(descriptor)  # before anything depends on it
    if len(secret) != len(b64encode(bytes(SECRET_BYTES))):
        raise EmbeddedError(f"The secret in {path} is damaged; restore it from a backup.")
    return secret


def _check_private(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise EmbeddedError(f"Others may read the secret in {path}; `chmod 600` it, as its owner.")
