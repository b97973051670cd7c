"""Torch in a process of its own, because the suite does not import it; one for everything that is
wanted of it, because importing it and what goes with it takes 4 s of a processor.

`python -m tests.support.torched` runs a function of a module for each line that it reads.
"""

import atexit
import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from typing import Any

from app.encoder.collecting import without_collecting
from app.encoder.torch_backend import import_libraries

_lock = threading.Lock()
_worker: subprocess.Popen[str] | None = None


def call(module: str, function: str, *arguments: Any) -> Any:
    """What the function returns there; arguments and result are of JSON. RuntimeError with its
    traceback where it raises."""
    with _lock:
        worker = _running()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps([module, function, arguments]) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"It ended in {module}.{function}.")
    result, error = json.loads(line)
    if error is not None:
        raise RuntimeError(error)
    return result


def _running() -> subprocess.Popen[str]:
    global _worker
    if _worker is None or _worker.poll() is not None:
        _worker = subprocess.Popen(
            [sys.executable, "-m", "tests.support.torched"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for whoever asks
        )
        atexit.register(_worker.communicate)  # without more to read it ends
    return _worker


def _work() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    with without_collecting():
        import_libraries()
    for line in sys.stdin:
        module, function, arguments = json.loads(line)
        try:
            told = getattr(importlib.import_module(module), function)(*arguments), None
        except Exception:
            told = None, traceback.format_exc()
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    _work()
