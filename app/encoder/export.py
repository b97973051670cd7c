"""Exports a model to ONNX. A process of its own (`python -m app.encoder.export`), because torch
and all that it takes with it are needed for these seconds only.

The graph is the whole model, pooling and whatever else its modules do included: from token ids to
vectors of length 1. Beside it the folder gets the tokenizer and a manifest with everything that
encoding needs, the digests of these files, and what torch makes of some texts, to be compared
with; and a file with the digest of the manifest itself.
"""

import base64
import errno
import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from app.encoder.backend import InputType, ModelUnusable
from app.encoder.children import end_with_parent
from app.encoder.collecting import without_collecting
from app.encoder.folder import Traits
from app.encoder.torch_backend import TorchBackend, import_libraries

FORMAT = 2
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
OPSET = 17  # the first with LayerNormalization
OUTPUT = "vectors"
# Statuses of the process: the model is the reason, or the disk is.
NOT_EXPORTED = 1
NO_ROOM = 2
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KINDS: tuple[InputType, ...] = ("query", "document")
# Two texts of unlike length, so that neither number can be mistaken for a constant of the graph.
EXAMPLE = ["Which projects use this?", "A longer text of several words, which is not a question."]
# Several scripts, lengths around and above every limit, and what is hardly a text at all.
REFERENCES = (
    "React",
    "Which projects use the data pipeline, and since when?",
    "¿Qué proyectos usan la biblioteca de gráficos y quién los mantiene?",
    "Какие проекты используют эту библиотеку?",
    "このライブラリを使っているプロジェクトはどれですか。",
    "أي المشاريع تستخدم هذه المكتبة؟",
    "कौन सी परियोजनाएँ इस पुस्तकालय का उपयोग करती हैं?",
    "Ποια έργα χρησιμοποιούν αυτή τη βιβλιοθήκη; 🙂🚀",
    "def add(left: int, right: int) -> int:\n    return left + right  # 0x1F, 3.14, 1e-9",
    " ",
    "The shop project uses Postgres for its orders and a queue for its letters. " * 6,
    "Each team keeps its own portfolio of documents, and answers cite them. " * 60,
    "日本語の長い文書です。検索と要約のために分割されます。" * 200,
)


def export(folder: Path, target: Path) -> None:
    """Export the model in `folder` into the empty folder `target`. Raises ModelUnusable."""
    with without_collecting():
        libraries = import_libraries()
        backend = TorchBackend(libraries, folder, folder.name, "", Traits(), "cpu", 0)
    model = backend.transformer
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise ModelUnusable("The model's tokenizer has no fast form; use the backend torch.")
    inputs = _trace(libraries[0], model, target / GRAPH)
    # By our own hand: when its library finds no room, it says so in its own words only.
    (target / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    files = {path.name: digest(path) for path in sorted(target.iterdir())}
    manifest = {
        "format": FORMAT,
        "dimension": backend.info.dimension,
        "max_tokens": backend.info.max_tokens,
        "inputs": inputs,
        "prompts": {kind: model.prompts.get(kind) or "" for kind in KINDS},
        "pad_id": model.tokenizer.pad_token_id or 0,
        "pad_left": model.tokenizer.padding_side == "left",
        "references": _references(backend),
        "files": files,
    }
    (target / MANIFEST).write_text(json.dumps(manifest))
    (target / MANIFEST_DIGEST).write_text(digest(target / MANIFEST))


def _trace(torch: Any, model: Any, path: Path) -> list[str]:
    """Write the graph; returns the names of its inputs."""
    features = model.preprocess(EXAMPLE)
    names = [name for name, value in features.items() if isinstance(value, torch.Tensor)]
    others = {name: value for name, value in features.items() if name not in names}

    class Whole(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            result = self.model(dict(zip(names, tensors, strict=True)) | others)
            return torch.nn.functional.normalize(result["sentence_embedding"].float(), dim=1)

    # The exporter by tracing, not its successor: it takes 1 s instead of 6, needs one package
    # instead of four, and what it makes is 15 % faster in batches. What tracing gets wrong, the
    # comparison with torch finds.
    with torch.inference_mode():
        torch.onnx.export(
            Whole().eval(),
            tuple(features[name] for name in names),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names}
            | {OUTPUT: {0: "texts"}},
        )
    import onnx

    # The graph has lost those that the model does not look at.
    graph = onnx.load(str(path), load_external_data=False).graph
    return [value.name for value in graph.input]


def _references(backend: TorchBackend) -> list[dict[str, Any]]:
    references = []
    for kind in KINDS:
        for text in REFERENCES:
            encoded = backend.encode([text], kind)
            references.append(
                {
                    "text": text,
                    "kind": kind,
                    "tokens": encoded.tokens[0],
                    "truncated": encoded.truncated[0],
                    "vector": base64.b64encode(encoded.vectors[0]).decode(),
                }
            )
    return references


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """`export FOLDER TARGET`: the reason on standard error where it cannot be."""
    end_with_parent()
    warnings.simplefilter("ignore")  # of tracing; what it gets wrong is found by comparing
    try:
        export(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # whatever the exporter raises
        if isinstance(error, OSError) and error.errno in FULL:
            sys.stderr.write(f"{error.strerror}\n")
            sys.exit(NO_ROOM)
        sys.stderr.write(f"{error}\n")
        sys.exit(NOT_EXPORTED)


if __name__ == "__main__":
    main()
