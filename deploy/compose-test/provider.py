"""Answers like OpenAI's chat completions: six words, 50 ms apart.

A question with "hold" in it gets its first word, and the rest after `POST /release`.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Atlas", " is", " the", " map", " project", "."]
PAUSE_SECONDS = 0.05
HOLD_SECONDS = 400.0
released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or words wait 40 ms for one another, now and then

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.path == "/release":
            released.set()
            self._head("application/json", length=2)
            self.wfile.write(b"{}")
            return
        asked = json.loads(body)["messages"][-1]["content"]
        held = "hold" in asked.rpartition("\n")[2] or "hold" in asked[:200]
        if held:
            released.clear()
        self._head("text/event-stream")
        for number, word in enumerate(WORDS):
            if number == 1 and held:
                released.wait(HOLD_SECONDS)
            self._event({"content": word})
            time.sleep(PAUSE_SECONDS)
        self._event({}, "stop")
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _head(self, kind: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _event(self, delta: dict[str, str], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "test"}
        self._chunk(b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice]}).encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 9000), Handler).serve_forever()  # noqa: S104
