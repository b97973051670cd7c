"""A process like one of the API's: all of the service imported, and a client of the encoder.

`api_worker URL` prints its memory before and after it has embedded some questions, and which of
the model's libraries it holds; it ends with its standard input.
"""

import asyncio
import importlib
import sys

import orjson
import psutil

from app.encoder.client import EncoderClient

HEAVY = ("torch", "transformers", "sentence_transformers", "onnxruntime", "openvino", "numpy")
QUESTIONS = 20


async def _use(url: str) -> None:
    async with await EncoderClient.connect(url, timeout_seconds=60) as client:
        for number in range(QUESTIONS):
            await client.embed_query(f"Which projects use version {number} of the library?")


def _resident() -> int:
    """The memory this process has now, in bytes. Not the peak: that of a child process begins
    with what its parent had when it forked."""
    return psutil.Process().memory_info().rss


def main() -> None:
    for module in ("app.main", "app.bootstrap"):
        importlib.import_module(module)
    before = _resident()
    asyncio.run(_use(sys.argv[1]))
    holds = [module for module in HEAVY if module in sys.modules]
    answer = {"before": before, "after": _resident(), "holds": holds}
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
