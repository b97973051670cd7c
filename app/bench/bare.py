"""A backend without the service around it, in a process of its own.

`bare MODEL BACKEND CACHE`. A line of JSON on standard input is `{"texts": […]}`, a line on standard
output the seconds that each of them took, one after the other.
"""

import sys
import time
from typing import Any, cast

import orjson

from app.encoder.loading import BackendName, load_backend


def main() -> None:
    """Load the model, say so, then do as standard input says until it ends."""
    model, kind, cache = sys.argv[1:4]
    backend = load_backend(model, backend=cast(BackendName, kind), cache=cache)
    _say({"ready": True})
    for line in sys.stdin.buffer:
        times = []
        for text in orjson.loads(line)["texts"]:
            start = time.perf_counter()
            backend.encode([text], "query")
            times.append(time.perf_counter() - start)
        _say({"times": times})


def _say(outcome: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
