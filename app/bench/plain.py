"""SentenceTransformer as programs use it that have no service, in a process of its own and with
nothing set: what the service is compared with.

`plain FOLDER`. A line of JSON on standard input is `{"do": …, "texts": […]}`, a line on standard
output the seconds it took.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson

LOCKED_CLIENTS = 64


def main() -> None:
    """Load the model, say so, then do as standard input says until it ends."""
    # Not above: importing this module must not load anything.
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True)
    actions: dict[str, Callable[[list[str]], Any]] = {
        "list": model.encode,
        "locked": lambda texts: _locked(model, texts),
    }
    model.encode(["Which projects use this?"] * LOCKED_CLIENTS)
    _say({"ready": True})
    for line in sys.stdin.buffer:
        task = orjson.loads(line)
        start = time.perf_counter()
        actions[task["do"]](task["texts"])
        _say({"seconds": time.perf_counter() - start})


def _locked(model: Any, texts: list[str]) -> None:
    """Clients that share one model and take turns."""
    lock = threading.Lock()

    def client(share: list[str]) -> None:
        for text in share:
            with lock:
                model.encode(text)

    shares = [texts[number::LOCKED_CLIENTS] for number in range(LOCKED_CLIENTS)]
    threads = [threading.Thread(target=client, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _say(outcome: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
