"""A package index, with wheels that break off on their way."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from zipfile import ZipFile

from tests.support.threaded_server import served


def wheel(name: str, version: str, *requires: str) -> bytes:
    """A package with one empty module."""
    metadata = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {x}" for x in requires)]
    files = {
        "METADATA": "\n".join(["Metadata-Version: 2.1", *metadata, ""]),
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    made = io.BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr(f"{name}.py", "")
        for file, text in files.items():
            archive.writestr(f"{name}-{version}.dist-info/{file}", text)
    return made.getvalue()


@contextmanager
def package_index(packages: Mapping[str, str], breaks: Mapping[str, int]) -> Iterator[str]:
    """An index of these packages and versions; yields its address.

    A package's file breaks off however often it is fetched, until somebody (one pip asks once) has
    asked for the package's page more often than `breaks` says.
    """
    asked = dict.fromkeys(packages, 0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page, _, file = self.path.strip("/").partition("/")
            name = file.partition("-")[0]
            if name not in packages:
                self.send_error(404)
            elif page == "simple":
                asked[name] += 1
                file = f"{name}-{packages[name]}-py3-none-any.whl"
                self._send("text/html", f'<a href="/files/{file}">{file}</a>'.encode())
            else:
                whole = asked[name] > breaks.get(name, 0)
                self._send("application/zip", wheel(name, packages[name]), whole=whole)

        def _send(self, kind: str, body: bytes, *, whole: bool = True) -> None:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            self.wfile.write(chunk if whole else chunk[: len(body) // 2])

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as address:
        yield address
