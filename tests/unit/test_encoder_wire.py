import base64
import struct
from typing import Any

import orjson
import pytest

from app.encoder import wire
from app.encoder.backend import ModelInfo

INFO = ModelInfo("m", "1", 384, 256, "cpu", "none")
MATRYOSHKA = ModelInfo("m", "1", 384, 256, "cpu", "none", matryoshka=True)


def body(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def test_a_string_is_a_list_of_one() -> None:
    request = wire.parse(body(input="text", model="m"), INFO)
    assert (list(request.texts), request.input_type, request.base64) == (
        ["text"],
        "document",
        False,
    )
    assert request.model == "m"


def test_everything_that_can_be_said() -> None:
    request = wire.parse(
        body(
            input=["a", "b"],
            input_type="query",
            encoding_format="base64",
            dimensions=384,
            user="unknown fields are left alone",
        ),
        INFO,
    )
    assert (list(request.texts), request.input_type, request.base64) == (["a", "b"], "query", True)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"", None),
        (b"{", None),
        (b'"text"', None),
        (b"[]", None),
        (b'{"input": "\\ud800"}', None),
        (b'{"input": "\xff"}', None),
        (body(), "input"),
        (body(input=None), "input"),
        (body(input=5), "input"),
        (body(input={}), "input"),
        (body(input=[]), "input"),
        (body(input=""), "input"),
        (body(input=["a", ""]), "input"),
        (body(input=["a", 5]), "input"),
        (body(input=[[1, 2]]), "input"),
        (body(input=["a"] * 2049), "input"),
        (body(input="a", encoding_format="int8"), "encoding_format"),
        (body(input="a", encoding_format=["float"]), "encoding_format"),
        (body(input="a", input_type="passage"), "input_type"),
        (body(input="a", dimensions=12), "dimensions"),
        (body(input="a", dimensions="384"), "dimensions"),
        (body(input="a", dimensions=384.0), "dimensions"),
        (body(input="a", dimensions=True), "dimensions"),
        (body(input="a", model=3), "model"),
    ],
)
def test_bad_requests_name_their_field(content: bytes, param: str | None) -> None:
    with pytest.raises(wire.BadRequest) as refused:
        wire.parse(content, INFO)
    assert refused.value.param == param
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_answers_in_both_encodings(encoding: str) -> None:
    vectors = [struct.pack("<2f", 0.5, -0.25), struct.pack("<2f", 1.0, 0.0)]
    request = wire.parse(body(input=["a", "b"], encoding_format=encoding), INFO)
    answer = orjson.loads(wire.render(wire.render_items(request, vectors), 7, 1, "m"))
    assert answer["object"] == "list"
    assert answer["model"] == "m"
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "truncated": 1}
    assert [item["index"] for item in answer["data"]] == [0, 1]
    first = answer["data"][0]["embedding"]
    if encoding == "base64":
        first = wire.unpack_floats(base64.b64decode(first))
    assert first == [0.5, -0.25]


def test_floats_that_are_cut_off_are_an_error() -> None:
    with pytest.raises(ValueError, match="multiple"):
        wire.unpack_floats(b"12345")


@pytest.mark.parametrize("dimensions", [384, None])
def test_the_models_own_dimension_changes_nothing(dimensions: int | None) -> None:
    for info in (INFO, MATRYOSHKA):
        assert wire.parse(body(input="a", dimensions=dimensions), info).dimensions is None


@pytest.mark.parametrize("dimensions", [0, -1, 385, 2.0, True, "2", [2]])
def test_dimensions_that_no_vector_has(dimensions: Any) -> None:
    with pytest.raises(wire.BadRequest) as refused:
        wire.parse(body(input="a", dimensions=dimensions), MATRYOSHKA)
    assert refused.value.param == "dimensions"


def test_fewer_dimensions_are_a_vector_of_length_one_again() -> None:
    request = wire.parse(body(input="a", dimensions=2), MATRYOSHKA)
    vectors = [struct.pack("<4f", 0.3, 0.4, 0.5, 0.7), struct.pack("<4f", 0, 0, 0, 1)]
    answer = orjson.loads(wire.render(wire.render_items(request, vectors), 1, 0, "m"))
    shortened = [item["embedding"] for item in answer["data"]]
    assert shortened[0] == pytest.approx([0.6, 0.8])
    assert shortened[1] == [0, 0]
