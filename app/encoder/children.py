"""Work that is done in a Python process of its own, so that what it imports ends with it."""

import os
import subprocess
import sys
import threading
from pathlib import Path


def run_module(
    module: str, *arguments: str, capture_errors: bool = False
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments…` to its end, with this program's modules, wherever this process
    was started. Its standard output is captured, its standard error where that is asked for; its
    standard input ends when this process does (see `end_with_parent`)."""
    root = str(Path(__file__).parents[2])
    its_input, our_end = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path[1:]])},
            stdin=its_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if capture_errors else None,
            text=True,
            check=False,
        )
    finally:
        os.close(its_input)
        os.close(our_end)


def end_with_parent() -> None:
    """In such a process: end it at once when the one that has started it ends, however it does."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
