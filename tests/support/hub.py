"""As much of a model hub as its client asks for, on this machine."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.threaded_server import served

COMMIT = "0" * 40


@contextmanager
def hub(name: str, folder: Path) -> Iterator[str]:
    """A hub that has one model, the one in the folder; yields its address."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            prefix = f"{name}/resolve/{COMMIT}/"
            if path == f"api/models/{name}/revision/main":
                siblings = [{"rfilename": file} for file in files]
                fields = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
                self._send(200, json.dumps(fields).encode(), with_body)
            elif path == f"api/models/{name}/tree/{COMMIT}":
                entries = [
                    {"type": "file", "path": file, "size": at.stat().st_size, "oid": COMMIT}
                    for file, at in files.items()
                ]
                self._send(200, json.dumps(entries).encode(), with_body)
            elif path.startswith(prefix) and path.removeprefix(prefix) in files:
                self._send(200, files[path.removeprefix(prefix)].read_bytes(), with_body)
            else:
                self._send(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})

        def _send(
            self, status: int, body: bytes, with_body: bool, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            for header, value in (headers or {}).items():
                self.send_header(header, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as address:
        yield address
