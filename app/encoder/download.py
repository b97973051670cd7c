"""Fetches a model by its name on Hugging Face's hub, or finds what was fetched before.

A process of its own (`python -m app.encoder.download NAME`), because the encoder's is told to stay
offline before its libraries are imported, and does.
"""

import sys
from pathlib import Path

from app.encoder.backend import ModelUnusable
from app.encoder.children import run_module

# What a model consists of here: no code, and no weights in formats that nobody here reads.
PATTERNS = ["*.json", "*.txt", "*.model", "*.md", "*.safetensors"]


def fetch_model(name: str) -> Path:
    """The folder of the model, complete. Raises ModelUnusable.

    HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean everywhere; without a
    connection what was fetched before is used.
    """
    # Its progress is shown; standard output carries the outcome alone.
    kind, _, text = run_module("app.encoder.download", name).stdout.strip().partition(" ")
    if kind == "found":
        return Path(text)
    raise ModelUnusable(text or f"{name} could not be fetched: its process ended early.")


def _fetch(name: str) -> str:
    from huggingface_hub import constants, errors, get_session, snapshot_download

    # Its own is to wait for ever for a hub, or a proxy, that accepts and never answers.
    get_session().timeout = constants.HF_HUB_ETAG_TIMEOUT
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


if __name__ == "__main__":
    sys.stdout.write(_fetch(sys.argv[1]) + "\n")
