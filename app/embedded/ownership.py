"""One owner of a data folder at a time; later processes join the servers that it runs."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

from app.embedded.home import lock, write_private
from app.embedded.process import POLL_SECONDS, EmbeddedError

# A first start makes the cluster and loads the encoder from a cold disk.
JOIN_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of running servers.

    `owner_url` and `app_url` are `postgresql://role@/citestream?host=<folder>&port=…` for the role
    that owns the schema and for the one that owns nothing; `redis_url` is `unix:///<socket>`;
    `encoder_url` is `http+unix://<quoted socket>`, or None where no encoder was asked for.
    """

    owner_url: str
    app_url: str
    redis_url: str
    encoder_url: str | None


class DataFolder:
    """The folder of one installation. Everything in it is closed to other users."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "log"
        self._published = self.path / "servers.json"
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder unless it exists. EmbeddedError when it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # several processes may start at once
                self.path.mkdir(mode=0o700)
                # Root's servers run as another user, who must pass through; nobody may list it.
                if os.geteuid() == 0:
                    self.path.chmod(0o711)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> EmbeddedError:
        return EmbeddedError(
            f"The data folder {self.path} cannot be written ({error.strerror}); make it "
            "writable, or choose another with CITESTREAM_DATA."
        )

    def claim(self) -> bool:
        """Become the owner; False when another process is."""
        try:
            self._lock = lock(self.path / "lock")
        except OSError as error:
            raise self.unusable(error) from error
        if self._lock is None:
            return False
        self._published.unlink(missing_ok=True)  # of an owner that was killed
        return True

    def publish(self, servers: Servers) -> None:
        """Let other processes join: from here on the servers are ready."""
        write_private(self._published, json.dumps(asdict(servers)))

    def withdraw(self) -> None:
        """Let no other process join any more: the servers are about to stop."""
        if self._lock is not None:
            self._published.unlink(missing_ok=True)

    def release(self) -> None:
        """Stop being the owner, if we are."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def claim_or_join(self, probe: Callable[[Servers], Awaitable[bool]]) -> Servers | None:
        """None: we are the owner now. Otherwise the owner's servers, which `probe` has reached.

        Waits for an owner that is still starting, and takes over from one that ends.
        """
        deadline = monotonic() + JOIN_SECONDS
        while not self.claim():
            servers = self._read()
            # Read again after the probe: a new owner removes what a killed one had published
            # before it stops that one's servers.
            if servers and await probe(servers) and self._read() == servers:
                return servers
            if monotonic() > deadline:
                raise EmbeddedError(
                    f"Another process uses the data folder {self.path}, but its servers are not "
                    "ready; stop that process, or choose another folder with CITESTREAM_DATA."
                )
            await asyncio.sleep(POLL_SECONDS)
        return None

    def _read(self) -> Servers | None:
        with suppress(FileNotFoundError):
            return Servers(**json.loads(self._published.read_text()))
        return None
