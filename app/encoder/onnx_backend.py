"""An exported model behind the same port as torch's, without torch in the process."""

import logging
import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from app.encoder.backend import (
    WARM_UP,
    Encoded,
    EncodingFailed,
    InputType,
    ModelInfo,
    ModelUnusable,
    cut,
    cut_long,
)
from app.encoder.exported import Exported, Reference
from app.encoder.padding import RUN_COST, share, split
from app.encoder.runtimes import Runtime
from app.encoder.wire import unpack_floats
from app.machine import arithmetic_cores

logger = logging.getLogger(__name__)

# Between the vectors of torch and of another runtime, of the same text.
MIN_COSINE = 0.999
WARM_UP_CALLS = 3
# Half of the cores for each run, so that the other half is there for another one: on two cores a
# lone question of MiniLM's takes 5 to 18 % longer than with both and a third less of the processor,
# and 64 questions are done in 106 ms instead of 139. A long text alone takes half as long again.
LANES = 2
# Nobody should wait for longer than this for a question beside idle cores.
LONG_SECONDS = 0.025


class ExportedBackend:
    """`app.encoder.backend.Backend` on an exported graph, which it loads. `libraries` are numpy and
    tokenizers; `threads` 0 is one a core, or the runtime's choice. Raises ModelUnusable."""

    def __init__(
        self,
        libraries: tuple[Any, Any],
        exported: Exported,
        runtime: Runtime,
        info: ModelInfo,
        threads: int,
    ) -> None:
        self._numpy, tokenizers = libraries
        self._exported = exported
        self._runtime = runtime
        self._tokenizer = tokenizers.Tokenizer.from_file(str(exported.tokenizer))
        self._tokenizer.no_padding()
        if exported.max_tokens:
            self._tokenizer.enable_truncation(exported.max_tokens)
        else:
            self._tokenizer.no_truncation()
        self.info = info
        if runtime.runs_side_by_side:
            threads = threads or arithmetic_cores()
        self._lanes = LANES if runtime.runs_side_by_side and threads > 1 else 1
        self._pool = ThreadPoolExecutor(LANES, thread_name_prefix="lane")
        if self._lanes > 1:
            runtime.load(exported.graph, -(-threads // LANES))
            if self._warm_up() > LONG_SECONDS:
                logger.info("A question takes long: each gets all of %d cores.", threads)
                self._lanes = 1
        if self._lanes == 1:
            runtime.load(exported.graph, threads)
            self._warm_up()

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        heads = cut(texts, self._exported.max_tokens)
        tokens = self._tokenize(heads, input_type)
        short = [
            index
            for index, each in enumerate(tokens)
            if len(heads[index]) < len(texts[index]) and not each.overflowing
        ]
        for index in short:
            heads[index] = cut_long(texts[index], self._exported.max_tokens)
            [tokens[index]] = self._tokenize([heads[index]], input_type)
        counts = [len(each.ids) for each in tokens]
        vectors = [b""] * len(texts)
        run_cost = RUN_COST[self.info.device]
        runs = share(split(counts, run_cost), counts, run_cost, self._lanes)
        inputs = [self._inputs([tokens[index] for index in run]) for run in runs]
        run_all = map if len(runs) == 1 or self._lanes == 1 else self._pool.map
        for run, output in zip(runs, run_all(self._runtime.run, inputs), strict=True):
            if not self._numpy.isfinite(output).all():
                raise EncodingFailed("The model produced a vector that is not a number.")
            for index, row in zip(run, output, strict=True):
                vectors[index] = row.astype("<f4").tobytes()
        truncated = [
            bool(each.overflowing) or len(head) < len(text)
            for each, head, text in zip(tokens, heads, texts, strict=True)
        ]
        return Encoded(vectors, counts, truncated)

    def _warm_up(self) -> float:
        """Run the model until it is at its speed; returns the seconds of a question."""
        seconds = []
        try:
            for _ in range(WARM_UP_CALLS):
                started = perf_counter()
                self.encode([WARM_UP], "query")
                seconds.append(perf_counter() - started)
        except Exception as error:  # whatever a graph that does not fit makes the program raise
            graph = self._exported.graph
            raise ModelUnusable(f"{self._runtime.name} cannot run {graph}: {error}") from error
        return min(seconds)

    def _tokenize(self, texts: Sequence[str], input_type: InputType) -> list[Any]:
        prompt = self._exported.prompts[input_type]
        encodings: list[Any] = self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        return encodings

    def _inputs(self, tokens: Sequence[Any]) -> dict[str, Any]:
        """The arrays that the graph takes, padded to the longest text."""
        numpy, longest = self._numpy, max(len(each.ids) for each in tokens)
        shape = (len(tokens), longest)
        arrays = {
            "input_ids": numpy.full(shape, self._exported.pad_id, dtype=numpy.int64),
            "attention_mask": numpy.zeros(shape, dtype=numpy.int64),
            "token_type_ids": numpy.zeros(shape, dtype=numpy.int64),
        }
        for row, each in enumerate(tokens):
            count = len(each.ids)
            place = slice(longest - count, None) if self._exported.pad_left else slice(count)
            arrays["input_ids"][row, place] = each.ids
            arrays["attention_mask"][row, place] = 1
            arrays["token_type_ids"][row, place] = each.type_ids
        return {name: arrays[name] for name in self._exported.inputs}


def verify(backend: ExportedBackend, exported: Exported, runtime: str) -> None:
    """Compare with torch what this program makes of the references, once for each version of it
    and each export. Raises ModelUnusable where it differs."""
    done = exported.folder / f"verified-{runtime}"
    if _marked(done) == exported.digest:
        return
    worst = 1.0
    for kind in ("query", "document"):
        references = [each for each in exported.references if each.kind == kind]
        batches = [references, *([each] for each in references)]
        worst = min(worst, *(_worst(backend, kind, batch) for batch in batches))
    if not worst >= MIN_COSINE:
        raise ModelUnusable(
            f"The exported model gives other vectors in {runtime} than in torch (cosine "
            f"{worst:.4f} instead of {MIN_COSINE}); use the backend torch."
        )
    _mark(done, exported.digest)


def _worst(backend: ExportedBackend, kind: InputType, references: Sequence[Reference]) -> float:
    """The least cosine of a batch; -1 where the tokens differ already."""
    encoded = backend.encode([each.text for each in references], kind)
    counts = [(each.tokens, each.truncated) for each in references]
    if list(zip(encoded.tokens, encoded.truncated, strict=True)) != counts:
        return -1.0
    pairs = zip(encoded.vectors, references, strict=True)
    return min(_cosine(vector, each.vector) for vector, each in pairs)


def _cosine(left: bytes, right: bytes) -> float:
    """Of two vectors of length 1."""
    return sum(map(operator.mul, unpack_floats(left), unpack_floats(right)), 0.0)


def _marked(done: Path) -> str | None:
    """The digest of what was found to be right."""
    try:
        return done.read_text(errors="replace")
    except OSError:
        return None


def _mark(done: Path, digest: str) -> None:
    try:
        done.write_text(digest)
    except OSError as error:  # it only has to be compared again the next time
        logger.warning("%s cannot be written: %s", done, error.strerror)


def import_libraries() -> tuple[Any, Any]:
    """numpy and tokenizers. Raises ModelUnusable."""
    try:
        import numpy
        import tokenizers
    except ImportError as error:
        raise ModelUnusable(
            f"{error.name} is not installed; install citestream[encoder]."
        ) from error
    return numpy, tokenizers
