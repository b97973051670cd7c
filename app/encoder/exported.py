"""Exported models on disk: made once, found again by what they were made from, never half-read."""

import base64
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.encoder.backend import InputType, ModelUnusable
from app.encoder.children import run_module
from app.encoder.export import FORMAT, GRAPH, MANIFEST, TOKENIZER, digest

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
    """A model in its folder, whole and unchanged. `inputs` are those of its graph."""

    folder: Path
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
    """
    place = cache / f"{folder.name}-{_key(folder, revision)}"
    found = _read(place)
    if found is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(cache)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{os.getpid()}-", dir=cache))
    except OSError as error:
        raise _cannot_keep(cache, error) from error
    try:
        _export(folder, unfinished)
        _put(unfinished, place)
    except OSError as error:
        raise _cannot_keep(cache, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    made = _read(place)
    if made is None:
        raise ModelUnusable(f"What was exported to {place} cannot be read again.")
    return made


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
        raise ModelUnusable(f"The model in {folder} cannot be exported to ONNX: {reason}")


def _put(made: Path, place: Path) -> None:
    """Move a whole folder to its place at once. Where another process was first, theirs stays."""
    try:
        made.rename(place)
    except OSError:
        if _read(place) is not None:
            return
        # A damaged one is in the way.
        aside = made.with_name(made.name + "-damaged")
        place.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        made.rename(place)


def _read(place: Path) -> Exported | None:
    """The export in a folder; None where there is none that is whole."""
    if not place.is_dir():
        return None
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_bytes())
        whole = all(digest(place / name) == sum_ for name, sum_ in manifest["files"].items())
        if whole and manifest["format"] == FORMAT:
            return Exported(
                folder=place,
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


def _remove_leftovers(cache: Path) -> None:
    """Remove what processes that were killed have left unfinished."""
    for path in cache.glob(f"{UNFINISHED}*"):
        pid = path.name.removeprefix(UNFINISHED).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:
            continue


def _cannot_keep(cache: Path, error: OSError) -> ModelUnusable:
    return ModelUnusable(
        f"Exported models cannot be kept in {cache} ({error.strerror}); name another folder with "
        "--cache."
    )
