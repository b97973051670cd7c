"""When Python looks for cycles of objects that nobody reaches.

Everything that is imported and built at the start lives until the end, some 250,000 objects. To
look at them again and again takes a fifth of the time that a process needs to be ready, a server
or a command, and later makes the requests that happen to meet it wait.
"""

import gc


def put_off() -> None:
    """Do not look while starting, which leaves no cycles worth finding."""
    gc.disable()


def look_again() -> None:
    """Look at what comes from now on, where it was put off, in a command that ends soon: a look at
    all that it has imported would cost it more than it could find."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def settle() -> None:
    """Look once, and from now on only at what comes later: a cached answer takes 0.86 ms of the
    processor instead of 1.04. Looking less often than Python does of itself would save 2 % more,
    for 20 MB."""
    gc.collect()
    gc.freeze()
    gc.enable()
