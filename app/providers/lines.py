"""A pure, incremental decoder of the chat-completions stream that OpenAI and Mistral both speak.

Bytes in, text deltas out; no I/O. It splits at CR and LF only: JSON may carry U+2028 and its like
raw, at which `str.splitlines` (and so the HTTP client's own line iterator) would cut an event in
two. Events are one `data:` line each, as every vendor sends them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from app.chat.model import Usage
from app.errors import ProviderError

MAX_LINE_BYTES = 1 << 20  # a vendor's line is a few hundred bytes; more is no stream of tokens
# An agent's own server may send whatever it likes, and an answer is kept whole until it is stored.
# The 32,000 tokens that can be asked for have some 130,000 characters.
MAX_ANSWER_CHARS = 4 << 20
# Tokens are mostly the same few thousand words, of which each of a thousand open answers keeps
# hundreds: one object for all of them saves 55 bytes a token. (`sys.intern` keeps them for ever in
# Python 3.12.)
SHORT_CHARS, KNOWN_WORDS = 20, 8192
MAX_TOKENS = 100_000_000  # what a count of tokens may be; the largest models take a million

_known = lru_cache(maxsize=KNOWN_WORDS)(str)


class Decoder:
    """One stream. `finish_reason` and `usage` are None until the vendor has sent them. `fault` is
    what ends an answer badly, to be raised behind the text that came before it."""

    __slots__ = ("_chars", "_rest", "done", "fault", "finish_reason", "usage")

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.done = False
        self.fault: ProviderError | None = None
        self._rest = b""
        self._chars = 0

    @property
    def complete(self) -> bool:
        """True once nothing more of interest can come."""
        return self.done or (self.finish_reason is not None and self.usage is not None)

    def feed(self, data: bytes) -> list[str]:
        """The deltas in `data` that are not empty."""
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        deltas = self._read(lines)
        if len(self._rest) > MAX_LINE_BYTES and self.fault is None:
            self.fault = ProviderError("The language model's provider sent a line without an end.")
        return deltas

    def close(self) -> list[str]:
        """What a last line without its newline holds; half an event is no event."""
        line, self._rest = self._rest, b""
        try:
            orjson.loads(line.removeprefix(b"data:"))
        except orjson.JSONDecodeError:
            self.done = self.done or line.removeprefix(b"data:").strip() == b"[DONE]"
            return []
        return self._read([line])

    def _read(self, lines: Sequence[bytes]) -> list[str]:
        """The deltas of whole lines, among which are keep-alives, comments and other fields."""
        deltas = []
        try:
            for line in lines:
                if not line.startswith(b"data:") or self.done:
                    continue
                payload = line[5:].strip()
                if payload == b"[DONE]":
                    self.done = True
                elif payload and (text := self._take(orjson.loads(payload))):
                    self._chars += len(text)
                    if self._chars > MAX_ANSWER_CHARS:
                        raise ProviderError("The language model's answer does not end.")
                    deltas.append(_known(text) if len(text) <= SHORT_CHARS else text)
        except orjson.JSONDecodeError as error:
            self.fault = ProviderError(
                "The language model's provider sent something that is not JSON."
            )
            self.fault.__cause__ = error
        except ProviderError as error:
            self.fault = error
        return deltas

    def _take(self, event: Any) -> str:
        if not isinstance(event, dict):
            return ""
        if event.get("error") or event.get("object") == "error":
            raise ProviderError("The language model's provider reported an error in its stream.")
        if usage := event.get("usage"):
            self.usage = usage_of(usage) or self.usage
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return ""
        reason = choice.get("finish_reason")
        if reason == "error":
            raise ProviderError("The language model's provider ended its answer with an error.")
        if isinstance(reason, str) and reason:
            self.finish_reason = reason
        delta = choice.get("delta")
        return text_of(delta.get("content")) if isinstance(delta, dict) else ""


def text_of(content: object) -> str:
    """The text of a delta's content: a string, Mistral's list of chunks, or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            chunk["text"]
            for chunk in content
            if isinstance(chunk, dict)
            and chunk.get("type", "text") == "text"
            and isinstance(chunk.get("text"), str)
        )
    return ""


def usage_of(usage: object) -> Usage | None:
    """The counts of a usage object, None when it is not one or cannot be true."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def count(value: object) -> int | None:
    """What may be a count of tokens: whoever sends a negative one would be paid for asking."""
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else None
