from pathlib import Path

import pytest

from app.encoder.backend import DEFAULT_MODEL
from app.encoder.folder import Traits, digest_weights, find_model, read_traits

CARD = "---\n{}\n---\n# A model\n"


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        (DEFAULT_MODEL, Traits(("en",))),
        ("Qwen3-Embedding-0.6B", Traits(("*",), matryoshka=True)),
        ("multilingual-e5-small", Traits(("*",))),
    ],
)
def test_known_models_need_no_card(name: str, traits: Traits, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD.format("language: xx"))
    assert read_traits(tmp_path, name) == traits


@pytest.mark.parametrize(
    ("head", "languages"),
    [
        ("language: en", ("en",)),
        ("language:\n- es\n- en", ("es", "en")),
        ("language: no", ("no",)),
        ("language: [multilingual, en]", ("*",)),
        ("language: multilingual", ("*",)),
        ("license: mit", None),
        ("language: []", None),
        ("- a list", None),
        ("language: [unclosed", None),
        ("!!python/object/apply:os.getcwd []", None),
    ],
)
def test_the_card_tells_the_languages(
    head: str, languages: tuple[str, ...] | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(CARD.format(head))
    assert read_traits(tmp_path, "unheard-of") == Traits(languages)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", '{"is_matryoshka": true}'),
        ("config.json", '{"matryoshka_dimensions": [64, 128]}'),
        ("README.md", CARD.format("tags:\n- loss:MatryoshkaLoss")),
    ],
)
def test_who_says_that_vectors_may_be_cut(file: str, content: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    assert read_traits(tmp_path, "unheard-of").matryoshka


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"no front matter", b"---\n"])
def test_a_card_that_says_nothing(content: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"[1]")
    if content is not None:
        (tmp_path / "README.md").write_bytes(content)
    assert read_traits(tmp_path, "unheard-of") == Traits()


def test_the_default_models_own_card_agrees_with_the_table() -> None:
    assert read_traits(find_model(DEFAULT_MODEL), "by another name").languages == ("en",)


def test_the_digest_covers_the_weights_of_every_module(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = digest_weights(tmp_path)
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"two")
    assert digest_weights(tmp_path) != before
