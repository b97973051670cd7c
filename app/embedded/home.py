"""Where the servers' files live and whom they run as.

An ordinary user runs them as himself in `<data>/postgres`. Postgres refuses to run as root, so
root runs them as a system user. Files of that user must be where it can reach them, and no
folder that is not ours is ever opened for it: where an ancestor is private, its files go to a
folder under /var/lib/citestream, and `<data>/postgres.location` remembers which.
"""

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

from app.embedded.process import BARE_ENVIRONMENT, Account, EmbeddedError

SYSTEM_USER = "citestream"
SYSTEM_FOLDER = Path("/var/lib/citestream")
# sockaddr_un holds 104 bytes on macOS (108 on Linux) with the closing NUL; the longest name in
# these folders is "encoder-4194304.sock".
SOCKET_FOLDER_BYTES = 103 - len("/encoder-4194304.sock")


@dataclass(frozen=True, slots=True)
class Home:
    """A private folder (0700) for one cluster, and the account that owns it (None: ourselves)."""

    path: Path
    account: Account | None

    def make_folder(self, path: Path) -> Path:
        """Make `path` with mode 0700 for the account unless it exists."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            return path
        if self.account:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)
        return path

    def can(self, test: str, *paths: Path) -> bool:
        """Whether the account passes `test` ("-x", "-r") on every path."""
        if self.account is None:
            return True
        script = 'for path; do test "$0" "$path" || exit 1; done'
        command = ["/bin/sh", "-c", script, test, *map(str, paths)]
        return _run_as(self.account, command) == 0


def open_home(data: Path) -> Home:
    """The home of this data folder's servers, made when there is none. Call it as the owner of
    the data folder's lock. Raises EmbeddedError."""
    account = _account(data)
    location = data / "postgres.location"
    beside = data / "postgres"
    if location.exists():
        home = Home(Path(location.read_text().strip()), account)
        if not home.path.is_dir():
            raise EmbeddedError(
                f"The database of {data} was kept in {home.path}, which is gone; restore it, or "
                f"delete {location} to start without its data."
            )
        return home
    home = Home(beside, account)
    if home.can("-x", data):
        home.make_folder(beside)
    elif beside.exists():
        raise EmbeddedError(
            f"The system user {SYSTEM_USER} can no longer reach the database in {beside}; move "
            f"the folder {data} back to a place that others can pass through."
        )
    else:
        home = Home(_system_home(account), account)
        write_private(location, f"{home.path}\n")
    return home


def socket_folder(preferred: Path, home: Home) -> Path:
    """A folder that only the account can enter, with a path short enough for sockets.

    `preferred` when it is short enough, else one in the temp directory whose name follows from
    it, so that a crash leaves no more than one.
    """
    if len(os.fsencode(preferred)) <= SOCKET_FOLDER_BYTES:
        folder = home.make_folder(preferred)
        folder.chmod(0o700)
        return folder
    return temporary_folder(f"citestream-{sha256(os.fsencode(preferred)).hexdigest()[:16]}", home)


def temporary_folder(name: str, home: Home) -> Path:
    """A folder of this name in the temp directory that only the account can enter, made unless it
    exists; EmbeddedError where it is somebody else's. Its path is short enough for sockets."""
    temporary = Path(tempfile.gettempdir())
    if not home.can("-x", temporary) or len(os.fsencode(temporary / name)) > SOCKET_FOLDER_BYTES:
        temporary = Path("/tmp")  # noqa: S108 (the folder in it is private and checked below)
    folder = home.make_folder(temporary / name)
    status = folder.lstat()
    uid = home.account.uid if home.account else os.geteuid()
    if folder.is_symlink() or status.st_uid != uid or status.st_mode & 0o077:
        raise EmbeddedError(f"{folder} belongs to somebody else; remove it.")
    return folder


def reachable_software(
    package: Path, version: str, probe: str, patterns: Sequence[str], home: Home
) -> Path:
    """An installed package's folder, or a copy of it in the home where the account cannot read
    `probe`, a file in it. Copied is what matches `patterns`, relative to the package's parent."""
    if home.can("-r", package / probe):
        return package
    target = home.path / "software" / f"{package.name}-{version}"
    if not target.exists():
        for former in target.parent.glob(f"{package.name}-*"):
            shutil.rmtree(former)
        unfinished = target.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for pattern in patterns:
            for source in sorted(package.parent.glob(pattern)):
                _copy(source, unfinished / source.relative_to(package.parent))
        _open(target.parent)
        unfinished.rename(target)
    return target / package.name


def lock(path: Path) -> int | None:
    """Lock the file for as long as the returned descriptor is open; None: another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _account(data: Path) -> Account | None:
    """Ourselves, or for root: the data folder's owner, or else the system user."""
    if os.geteuid() != 0:
        return None
    if owner := data.stat().st_uid:
        return Account(owner, data.stat().st_gid)
    return _system_account()


def _system_account() -> Account:
    deadline = monotonic() + 5
    while True:
        with suppress(KeyError):
            entry = pwd.getpwnam(SYSTEM_USER)
            return Account(entry.pw_uid, entry.pw_gid)
        # Of two first starts at once, one finds /etc/passwd locked for a moment.
        if (problem := _add_user()) and monotonic() > deadline:
            raise EmbeddedError(
                f"Postgres does not run as root, and the system user {SYSTEM_USER} could not be "
                f"made ({problem}); run as an ordinary user."
            )
        sleep(0.05)


def _add_user() -> str:
    """Make the system user; what went wrong, or an empty string."""
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    directories = f"/usr/sbin:/sbin:{os.defpath}"
    if not (program := shutil.which(command[0], path=directories)):
        return f"there is no useradd on this {sys.platform} system"
    result = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    return result.stderr.strip() if result.returncode else ""


def _system_home(account: Account | None) -> Path:
    SYSTEM_FOLDER.mkdir(mode=0o755, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="data-", dir=SYSTEM_FOLDER))
    if account:
        os.chown(path, account.uid, account.gid)
    return path


def _run_as(account: Account, command: list[str]) -> int:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=BARE_ENVIRONMENT,
            check=False,
            **account.arguments,
        ).returncode
    except PermissionError as error:
        raise EmbeddedError(
            "Postgres does not run as root, and this root may not act as another user; run as "
            "an ordinary user."
        ) from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)


def _open(folder: Path) -> None:
    """Let everybody who can reach the folder, inside a private one, run what is in it."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            if not path.is_symlink():
                path.chmod(0o755)


def write_private(path: Path, text: str) -> None:
    """Write a small private file whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
