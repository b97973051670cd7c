"""What is there at the start is not looked at again; what comes later is."""

import subprocess
import sys

LATER = """
import gc, weakref
from app.commands.cycles import put_off, settle

class Node:
    pass

def cycle():
    node = Node()
    node.self = node
    return weakref.ref(node)

put_off()
assert not gc.isenabled()
early = cycle()
settle()
assert gc.isenabled() and early() is None
frozen = gc.get_freeze_count()
assert frozen > 1000
later = cycle()
gc.collect()
assert later() is None and gc.get_freeze_count() == frozen
"""


def test_cycles_are_found_once_it_serves() -> None:
    subprocess.run([sys.executable, "-c", LATER], check=True)
