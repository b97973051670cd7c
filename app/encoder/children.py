"""Work that is done in a Python process of its own, so that what it imports ends with it."""

import os
import subprocess
import sys
from pathlib import Path


def run_module(
    module: str, *arguments: str, capture_errors: bool = False
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments…` to its end, with this program's modules, wherever this process
    was started. Its standard output is captured, its standard error where that is asked for."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path[1:]])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if capture_errors else None,
        text=True,
        check=False,
    )
