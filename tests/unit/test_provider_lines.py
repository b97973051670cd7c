"""The decoder of vendors' streams: every dialect as a table, and cut anywhere."""

from typing import Any

import orjson
import pytest

from app.chat.model import Usage
from app.providers.lines import MAX_ANSWER_CHARS, MAX_LINE_BYTES, Decoder


def event(delta: Any = None, reason: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + orjson.dumps({"choices": [choice], **more}) + b"\n\n"


HELLO = event({"content": "Hello"})
STOP = event({}, "stop")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def decode(data: bytes, size: int | None = None) -> tuple[str, Decoder]:
    decoder = Decoder()
    size = size or len(data) or 1
    deltas = [
        delta for at in range(0, len(data), size) for delta in decoder.feed(data[at : at + size])
    ]
    return "".join([*deltas, *decoder.close()]), decoder


@pytest.mark.parametrize(
    ("data", "text", "reason", "usage"),
    [
        (HELLO + STOP + USAGE + DONE, "Hello", "stop", Usage(3, 2)),
        (b"", "", None, None),
        ((HELLO + STOP).replace(b"\n", b"\r\n"), "Hello", "stop", None),
        ((HELLO + STOP).replace(b"\n", b"\r"), "Hello", "stop", None),
        (b": keep-alive\n\n\n\ndata:\n\ndata: \n\n" + HELLO, "Hello", None, None),
        (b"event: message\nid: 7\nretry: 5\n" + HELLO, "Hello", None, None),
        (HELLO.replace(b"data: ", b"data:"), "Hello", None, None),
        (HELLO.rstrip(b"\n"), "Hello", None, None),
        (HELLO + DONE + HELLO, "Hello", None, None),
        (HELLO + DONE.rstrip(b"\n"), "Hello", None, None),
        (event({"content": None}) + event({}) + event(None) + event("x"), "", None, None),
        (event({"content": ""}) + event({"role": "assistant", "content": ""}), "", None, None),
        (event({"content": "a\u2028b\u0085c\x0b"}), "a\u2028b\u0085c\x0b", None, None),
        (event({"content": "sí 🙂"}), "sí 🙂", None, None),
        (
            event(
                {
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "thinking", "thinking": [{"type": "text", "text": "no"}]},
                        {"type": "reference", "reference_ids": [1]},
                        {"type": "text", "text": "b"},
                        "c",
                    ]
                }
            ),
            "ab",
            None,
            None,
        ),
        (event({"content": "x"}, "length"), "x", "length", None),
        (event({"content": None}, "content_filter"), "", "content_filter", None),
        (event({"tool_calls": [{"id": 1}], "reasoning_content": "hm"}), "", None, None),
        (event({"content": 7}), "", None, None),
        (event({"content": "x"}, error=None, service_tier="auto"), "x", None, None),
        (b'data: {"choices":"?"}\n\ndata: {"choices":[7]}\n\ndata: [1]\n\n', "", None, None),
        (event({"content": "x"}, usage={"prompt_tokens": "?"}), "x", None, None),
        (
            event({"content": "x"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 2}),
            "x",
            "stop",
            Usage(1, 2),
        ),
        (HELLO + b'data: {"choices":[{"delta":{"content":"cut', "Hello", None, None),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_dialects(
    data: bytes, text: str, reason: str | None, usage: Usage | None, size: int | None
) -> None:
    found, decoder = decode(data, size)
    assert (found, decoder.finish_reason, decoder.usage) == (text, reason, usage)


@pytest.mark.parametrize(
    ("data", "complete"),
    [(HELLO, False), (STOP, False), (STOP + USAGE, True), (STOP + DONE, True), (DONE, True)],
)
def test_complete(data: bytes, complete: bool) -> None:
    assert decode(data)[1].complete is complete


@pytest.mark.parametrize(
    "fault",
    [
        b'data: {"error":{"message":"secret"}}\n\n',
        b'data: {"error":"secret"}\n\n',
        b'data: {"object":"error","message":"secret"}\n\n',
        b"data: {secret\n\n",
        b"data: secret\n\n",
        event({}, "error"),
    ],
)
def test_a_fault_comes_after_what_was_before_it(fault: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(HELLO + fault + HELLO) == ["Hello"]
    assert decoder.fault is not None
    assert "secret" not in decoder.fault.message


def test_each_delta_stays_one_and_none_is_empty() -> None:
    decoder = Decoder()
    assert decoder.feed(HELLO * 3 + event({"content": ""}) + HELLO[:9]) == ["Hello"] * 3
    assert decoder.feed(HELLO[9:] + STOP) == ["Hello"]


def test_a_line_without_an_end_is_refused() -> None:
    decoder = Decoder()
    assert decoder.feed(b"x" * (MAX_LINE_BYTES + 1)) == []
    assert decoder.fault is not None


def test_an_answer_without_an_end_is_ended() -> None:
    decoder, piece = Decoder(), "x" * 10_000
    for _ in range(MAX_ANSWER_CHARS // len(piece)):
        assert decoder.feed(event({"content": piece})) == [piece]
    assert decoder.fault is None
    assert decoder.feed(event({"content": piece})) == []
    assert decoder.fault is not None


@pytest.mark.parametrize("wrong", [-1, 10**9, 2**63, 1e300, 0.5, "3", None, [3]])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_a_count_that_cannot_be_true_is_none(name: str, wrong: object) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, name: wrong}
    assert decode(HELLO + event({}, "stop", usage=usage))[1].usage is None


def test_the_same_word_of_two_answers_is_in_memory_once() -> None:
    [one], [other] = (Decoder().feed(event({"content": " finished"})) for _ in range(2))
    assert one is other
