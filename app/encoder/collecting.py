"""Loading libraries and models without the garbage collector among them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """Load in here what stays for as long as the process does. Millions of objects survive the
    imports of a model's libraries: to collect among them is a quarter of the start, and to look
    at them again later a waste."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
