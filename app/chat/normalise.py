"""What a text must be to enter, and the form of a message under which its answer is cached."""

import re
import unicodedata

from app.chat.model import MAX_MESSAGE_CHARS
from app.errors import InvalidInput

# Postgres stores no NUL, and the other C0 controls are never typed. Tab and line ends are.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# JSON may carry half of a pair ("\ud800"), which no UTF-8 can.
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_PIECE_CHARS = 1000
# Zero-width space, word joiner and byte order mark come along when text is pasted. The joiners
# U+200C and U+200D stay: they tell Persian words and composed emojis apart.
_ZERO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF))


def normalise_message(text: str) -> str:
    """The one form of all messages that differ only in how their characters are encoded or
    spaced. Idempotent. Case, punctuation and compatibility characters (², ½) stay, because two
    questions that may have different answers must never share one."""
    return " ".join(unicodedata.normalize("NFC", text.translate(_ZERO_WIDTH)).split())


def check_message(message: object) -> str:
    """The message as it came; InvalidInput where nobody could answer or store it."""
    return check_text(message, "message", MAX_MESSAGE_CHARS)


def check_text(value: object, field: str, max_chars: int, *, may_be_blank: bool = False) -> str:
    """The value as it came if it is a visible text of at most `max_chars` code points, without
    control characters (but tab and line ends) and lone surrogates; InvalidInput with a sentence
    that names the field otherwise."""
    if not isinstance(value, str):
        raise InvalidInput(f"The field `{field}` must be a string.")
    if len(value) > max_chars:
        raise InvalidInput(
            f"The field `{field}` has {len(value):,} characters; send at most {max_chars:,}."
        )
    if control := _CONTROL.search(value):
        raise InvalidInput(
            f"The field `{field}` contains the control character U+{ord(control[0]):04X}; "
            "remove it."
        )
    if _SURROGATE.search(value):
        raise InvalidInput(
            f"The field `{field}` contains half of a surrogate pair; send valid Unicode."
        )
    if not may_be_blank and is_invisible(value):
        raise InvalidInput(f"The field `{field}` is empty; send at least one visible character.")
    return value


def is_invisible(text: str) -> bool:
    """Whether there is nothing to be seen: not a character but spaces, controls and format
    characters such as U+200B. By pieces, of each of which a character is looked up once: the worst
    10 MB take a tenth of a second so, not one."""
    if text[:1].isalnum():  # as nearly all are
        return False
    pieces = (text[start : start + _PIECE_CHARS] for start in range(0, len(text), _PIECE_CHARS))
    return all(unicodedata.category(char) in _INVISIBLE for piece in pieces for char in set(piece))
