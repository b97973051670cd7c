"""What a loaded model is to the rest of the room: values, errors and the port.

Free of torch and onnxruntime, which only the implementations import, inside their functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

InputType = Literal["query", "document"]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# onnx, which takes less than half of torch's time, and torch where onnx cannot run the model.
DEFAULT_BACKEND: Final = "auto"
# Said while a model is exported, so that whoever waits for it can tell why.
PREPARING = "Preparing the encoder's model, once (some ten seconds)"
# Up to this many tokens with padding a batch is as small as a question, and one thread is enough.
SMALL_BATCH_TOKENS = 64
WARM_UP = "Which projects use this?"
# Tokenizing a megabyte takes a second and all but its first words are dropped again. A text is cut
# to this many characters for each token that the model reads before it is tokenized; where that
# turns out to be too little (a page of blanks), it is cut to LONG_CHARS and tokenized again: 0.07 s
# of the model's thread, where a body of 16 MB that is one word took 4.5 s.
CUT_CHARS_PER_TOKEN = 64
LONG_CHARS = 250_000


class ModelUnusable(Exception):
    """The model cannot be loaded; the message is one sentence for the operator."""


class EncodingFailed(Exception):
    """The model gave no usable vector. `index` is the text's place in its request, where it is
    known which text it was."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)


class ModelFailed(EncodingFailed):
    """What runs the model failed; the text need not be why."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded. `revision` is a digest of the weights, so it tells two builds apart;
    `languages` are codes, `*` means many, and None that nobody has said."""

    model: str
    revision: str
    dimension: int
    max_tokens: int
    device: str
    backend: str
    languages: Sequence[str] | None = None
    matryoshka: bool = False  # a vector's beginning is a vector too

    @property
    def id(self) -> str:
        """Model and revision in one word; vectors of two ids never meet. The same for every
        backend: each must agree with torch before it is used."""
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One little-endian float32 vector of length 1 a text, as bytes; the tokens it took (those
    after truncation); and whether it was truncated."""

    vectors: Sequence[bytes]
    tokens: Sequence[int]
    truncated: Sequence[bool]


class Backend(Protocol):
    """A loaded model. Not thread-safe: load and encode from one thread."""

    @property
    def info(self) -> ModelInfo: ...

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        """Encode the texts as one batch. Raises EncodingFailed."""
        ...


def cut(texts: Sequence[str], max_tokens: int) -> list[str]:
    """The beginnings of the texts, as far as the model may read."""
    chars = max_tokens * CUT_CHARS_PER_TOKEN
    return [text[:chars] for text in texts] if chars else list(texts)


def cut_long(text: str, max_tokens: int) -> str:
    """As much as is read of a text whose beginning, as `cut` leaves it, is not enough."""
    return text[: max(LONG_CHARS, max_tokens * CUT_CHARS_PER_TOKEN)]
