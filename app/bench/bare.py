"""The model without the service, in a process of its own: what the service is compared with.

`bare MODEL BACKEND CACHE`. A line of JSON on standard input is `{"do": …, "texts": […]}`, a line on
standard output the seconds that each call took.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import orjson

from app.encoder.folder import find_model
from app.encoder.loading import BackendName, load_backend

LOCKED_CLIENTS = 64


def main() -> None:
    """Load the model, say so, then do as standard input says until it ends."""
    model, kind, cache = sys.argv[1:4]
    backend = load_backend(model, backend=cast(BackendName, kind), cache=cache)
    actions: dict[str, Callable[[list[str]], Sequence[float]]] = {
        "one by one": lambda texts: [_timed(backend.encode, [text], "query") for text in texts]
    }
    if kind == "torch":
        # Not above: the other backends do without.
        from sentence_transformers import SentenceTransformer

        folder = str(find_model(model))
        transformer = SentenceTransformer(folder, device="cpu", local_files_only=True)
        transformer.encode(["Which projects use this?"] * LOCKED_CLIENTS)
        actions["list"] = lambda texts: [_timed(transformer.encode, texts)]
        actions["locked"] = lambda texts: [_timed(_locked, transformer, texts)]
    _say({"ready": True})
    for line in sys.stdin.buffer:
        task = orjson.loads(line)
        _say({"times": list(actions[task["do"]](task["texts"]))})


def _locked(transformer: Any, texts: list[str]) -> None:
    """Clients that share one model as programs do that know no better: a lock around it."""
    lock = threading.Lock()

    def client(share: list[str]) -> None:
        for text in share:
            with lock:
                transformer.encode(text)

    shares = [texts[number::LOCKED_CLIENTS] for number in range(LOCKED_CLIENTS)]
    threads = [threading.Thread(target=client, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _timed(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def _say(outcome: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
