"""Fetches a model by its name on Hugging Face's hub, or finds what was fetched before.

A process of its own (`python -m app.encoder.download NAME`), because the encoder's is told to stay
offline before its libraries are imported, and does.
"""

import os
import sys
from pathlib import Path
from typing import Any

from app.encoder.backend import ModelUnusable
from app.encoder.children import run_module

# What a model consists of here: no code, and no weights in formats that nobody here reads.
PATTERNS = ["*.json", "*.txt", "*.model", "*.md", "*.safetensors"]


def fetch_model(name: str) -> Path:
    """The folder of the model, complete. Raises ModelUnusable.

    HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HUB_ETAG_TIMEOUT (of a hub that does not
    answer) mean what they mean everywhere, and so do the variables for proxies; without a
    connection what was fetched before is used. The operator names models; no request does.
    """
    # Its progress is shown; standard output carries the outcome alone.
    kind, _, text = run_module("app.encoder.download", name).stdout.strip().partition(" ")
    if kind == "found":
        return Path(text)
    raise ModelUnusable(text or f"{name} could not be fetched: its process ended early.")


def _fetch(name: str) -> str:
    # Otherwise a request goes before the first one, for a list of programs with which to tell the
    # hub who asks: three seconds more of a hub that does not answer, and nobody's business.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import errors, get_session, snapshot_download

    get_session().event_hooks["request"].append(_limit)
    try:
        return f"found {snapshot_download(name, allow_patterns=PATTERNS)}"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return f"failed There is no model {name} on the hub, or it is private; check its name."
    except errors.LocalEntryNotFoundError:
        return (
            f"failed {name} is not a model on this machine, and the hub that has it cannot be "
            "reached; name a folder that holds it, or connect."
        )
    except Exception as error:  # whatever a download can end with: a full disk, a broken server
        return f"failed {name} could not be fetched: {' '.join(str(error).split())}"


def _limit(request: Any) -> None:
    """Give a request a timeout where the library has none: it asks for what a model consists of
    without one, and so waits for ever for a hub, or a proxy, that accepts and never answers."""
    from huggingface_hub import constants

    timeouts = request.extensions["timeout"]
    request.extensions["timeout"] = {
        phase: constants.HF_HUB_ETAG_TIMEOUT if seconds is None else seconds
        for phase, seconds in timeouts.items()
    }


if __name__ == "__main__":
    sys.stdout.write(_fetch(sys.argv[1]) + "\n")
