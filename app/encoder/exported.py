"""Exported models on disk: made once, found again by what they were made from, never half-read."""

import base64
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.encoder.backend import PREPARING, InputType, ModelUnusable
from app.encoder.children import run_module
from app.encoder.export import (
    FORMAT,
    GRAPH,
    MANIFEST,
    MANIFEST_DIGEST,
    NO_ROOM,
    TOKENIZER,
    digest,
)
from app.encoder.shared_cache_locks import file_lock

logger = logging.getLogger(__name__)

UNFINISHED = ".exporting-"


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch makes of a text."""

    text: str
    kind: InputType
    tokens: int
    truncated: bool
    vector: bytes


@dataclass(frozen=True, slots=True)
class Exported:
    """A model in its folder, whole and unchanged. `inputs` are those of its graph, `digest` covers
    every file."""

    folder: Path
    digest: str
    dimension: int
    max_tokens: int
    inputs: Sequence[str]
    prompts: Mapping[str, str]
    pad_id: int
    pad_left: bool
    references: Sequence[Reference]

    @property
    def graph(self) -> Path:
        return self.folder / GRAPH

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER


def find_or_export(folder: Path, revision: str, cache: Path) -> Exported:
    """The export of the model in `folder`, from the folder `cache` or made now, which takes ten
    seconds and more. Raises ModelUnusable.

    What is found is compared with its digests: a file that was damaged or cut off is made again.
    Of several processes that need the same export one makes it, and the others wait for that.
    """
    place = cache / f"{folder.name}-{_key(folder, revision)}"
    found = read_exported(place)
    if found is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        logger.warning("%s: it is exported to %s.", PREPARING, place)
        # The kernel takes the lock from a process that dies, however it dies.
        with file_lock(cache / f".{place.name}.lock"):
            made = read_exported(place) or _make(folder, place)
    except OSError as error:
        raise _cannot_keep(cache, error.strerror) from error
    if made is None:
        raise ModelUnusable(f"What was exported to {place} cannot be read again.")
    return made


def _make(folder: Path, place: Path) -> Exported | None:
    """Export, alone: the caller holds the lock of this place."""
    prefix = f"{UNFINISHED}{place.name}-"
    for path in place.parent.iterdir():  # what processes that were killed have left unfinished
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
    try:
        _export(folder, unfinished)
        if place.exists():  # damaged, so nobody reads it
            shutil.rmtree(place)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return read_exported(place)


def _key(folder: Path, revision: str) -> str:
    """Of the weights and of everything beside them that has a say: prompts, pooling, tokenizer."""
    key = hashlib.sha256(f"{FORMAT} {revision}".encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".txt", ".model") and path.is_file():
            key.update(str(path.relative_to(folder)).encode() + b"\0")
            key.update(path.read_bytes())
    return key.hexdigest()[:16]


def _export(folder: Path, target: Path) -> None:
    done = run_module("app.encoder.export", str(folder), str(target), capture_errors=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        if done.returncode == NO_ROOM:
            raise _cannot_keep(target.parent, reason)
        raise ModelUnusable(
            f"The model in {folder} cannot be exported to ONNX: {reason} (the backend torch may "
            "run it)."
        )


def read_exported(place: Path) -> Exported | None:
    """The export in a folder; None where there is none that is whole."""
    if not place.is_dir():
        return None
    try:
        sum_ = digest(place / MANIFEST)
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_bytes())
        if sum_ == (place / MANIFEST_DIGEST).read_text() and _is_whole(place, manifest):
            return Exported(
                folder=place,
                digest=sum_,
                dimension=manifest["dimension"],
                max_tokens=manifest["max_tokens"],
                inputs=manifest["inputs"],
                prompts=manifest["prompts"],
                pad_id=manifest["pad_id"],
                pad_left=manifest["pad_left"],
                references=[
                    Reference(**fields | {"vector": base64.b64decode(fields["vector"])})
                    for fields in manifest["references"]
                ],
            )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    logger.warning("The exported model in %s is damaged; it is made again.", place)
    return None


def _is_whole(place: Path, manifest: Mapping[str, Any]) -> bool:
    files = manifest["files"]
    return (
        manifest["format"] == FORMAT
        and files.keys() >= {GRAPH, TOKENIZER}  # a large graph has its weights in files beside it
        and all(digest(place / name) == sum_ for name, sum_ in files.items())
    )


def _cannot_keep(cache: Path, reason: str | None) -> ModelUnusable:
    return ModelUnusable(
        f"Exported models cannot be kept in {cache} ({reason}); name another folder with --cache."
    )
