"""Files into documents, what is refused and how it is said, and finding files in folders."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AppError, InvalidInput, UnsupportedMediaType
from app.ingest.check import check_document
from app.ingest.files import find_files
from app.ingest.parse import parse_file
from app.ingest.ports import NewDocument

ITEM: dict[str, Any] = {"title": "T", "text": "x", "uri": "u", "metadata": {"year": 2024}}
DOCUMENT = NewDocument("T", "x", "u", {"year": 2024})
BARE = NewDocument("A", "b", "a")


@pytest.mark.parametrize(
    ("name", "data", "title", "text"),
    [
        ("a.md", b"# Hello\n\nworld", "Hello", "# Hello\n\nworld"),
        ("a.MD", b"intro\n\n## **Big** `code` [link](u) ##\n", "Big code link", None),
        ("a.markdown", b'---\ntitle: "Front"\ntags: x\n---\n# Hello\n', "Front", None),
        ("a.md", b"---\n# a comment\ntags: x\n---\n# Hello\n", "Hello", None),
        ("a.md", b"Hello\n=====\n\nworld", "Hello", None),
        ("a.md", b"```\n# code\n```\ntext", "a", None),
        ("dir/sub.dir/plan v1.2.md", b"text", "plan v1.2", "text"),
        ("c:\\docs\\plan.txt", b"# no heading here", "plan", "# no heading here"),
        ("a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n", "a", "one\ntwo\rthree\n"),
        ("x" * 600 + ".txt", b"a", "x" * 500, "a"),
        (".txt", b"a", ".txt", "a"),
        ("", b"# A", "A", "# A"),
        ("", b"a", "Untitled", "a"),
    ],
)
def test_markdown_and_text(name: str, data: bytes, title: str, text: str | None) -> None:
    [document] = parse_file(name, data, "text/markdown")  # the suffix decides where it can
    assert document.title == title
    assert document.text == (text if text is not None else data.decode())
    assert document.uri == (name or None)


@pytest.mark.parametrize(
    ("name", "content_type", "data", "expected"),
    [
        ("a.json", None, ITEM, [DOCUMENT]),
        (
            "a.json",
            None,
            [ITEM, {"title": "A", "text": "b"}],
            [DOCUMENT, NewDocument("A", "b", "a.json#1")],
        ),
        ("a.json", "text/plain", {"documents": [ITEM]}, [DOCUMENT]),
        ("a", "application/json; charset=utf-8", ITEM, [DOCUMENT]),
        (
            "a.json",
            None,
            {**ITEM, "uri": None, "metadata": None},
            [NewDocument("T", "x", "a.json")],
        ),
        (
            "a.jsonl",
            None,
            b'{"title":"A","text":"b"}\r\n\n{"title":"A","text":"b"}',
            [NewDocument("A", "b", "a.jsonl"), NewDocument("A", "b", "a.jsonl#1")],
        ),
        ("a", "application/x-ndjson", b'\xef\xbb\xbf{"title":"A","text":"b"}\n', [BARE]),
    ],
)
def test_json(name: str, content_type: str | None, data: Any, expected: list[NewDocument]) -> None:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    assert parse_file(name, raw, content_type) == expected


@pytest.mark.parametrize(
    ("name", "data", "code", "words"),
    [
        ("a.md", b"", "empty_document", "no text"),
        ("a.txt", b" \r\n\t\xef\xbb\xbf"[:4], "empty_document", "no text"),
        ("a.txt", b"\xef\xbb\xbf", "empty_document", "no text"),
        ("a.json", b"[]", "empty_document", "no documents"),
        ("a.json", b'{"documents": []}', "empty_document", "no documents"),
        ("a.txt", b"ab\xff", "invalid_encoding", "byte 2"),
        ("a.md", "señor".encode("latin-1"), "invalid_encoding", "byte 2"),
        ("a.txt", "text".encode("utf-16"), "invalid_encoding", "UTF-16"),
        ("a.txt", b"a\0b", "invalid_text", "NUL character at position 1"),
        ("a.txt", b"\x00\xff\xd8", "invalid_text", "binary"),
        ("a.json", b"{", "malformed_document", "line 1 column"),
        ("a.json", b"\0", "invalid_text", "NUL"),
        ("a.json", b'"text"', "malformed_document", "an object with `title`"),
        ("a.json", b"[" * 100_000, "malformed_document", "not valid JSON"),
        ("a.json", b'{"documents": 1}', "malformed_document", "list"),
        ("a.json", b'[{"title": "T", "text": "x"}, 1]', "malformed_document", "Document 2"),
        ("a.json", b'{"title": "T"}', "malformed_document", "needs a `text`"),
        ("a.json", b'{"title": 1, "text": "x"}', "malformed_document", "needs a `title`"),
        ("a.json", b'{"title": "T", "text": "x", "uri": 1}', "malformed_document", "`uri`"),
        ("a.json", b'{"title": "T", "text": "x", "metadata": []}', "malformed_document", "meta"),
        ("a.json", b'{"title": "T", "text": "x", "url": "u"}', "malformed_document", "'url'"),
        ("a.json", b'{"title": "\\ud800", "text": "x"}', "malformed_document", "not valid JSON"),
        ("a.jsonl", b'{"title": "T", "text": "x"}\nno', "malformed_document", "Line 2"),
        ("a.pdf", b"%PDF-1.7", "unsupported_media_type", "a PDF"),
        ("a.md", b"%PDF-1.7", "unsupported_media_type", "a PDF"),
        ("a.docx", b"PK\x03\x04", "unsupported_media_type", ".docx"),
        ("a.rtf", b"{\\rtf1}", "unsupported_media_type", ".md, .markdown, .txt"),
        ("a", b"x", "unsupported_media_type", "without a suffix"),
        ("", b"", "unsupported_media_type", "without a suffix"),
    ],
)
def test_files_that_are_refused(name: str, data: bytes, code: str, words: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_file(name, data, None)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.message.endswith(".")


@given(
    name=st.sampled_from(["a.md", "a.txt", "a.json", "a.jsonl"]),
    data=st.binary(max_size=80)
    | st.text(max_size=80).map(lambda text: text.encode(errors="ignore")),
)
def test_any_bytes_give_documents_or_a_4xx(name: str, data: bytes) -> None:
    try:
        documents = parse_file(name, data)
    except AppError as error:
        assert 400 <= error.status < 500
    else:
        assert documents


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


GOOD: list[dict[str, Any]] = [
    {},
    {"title": "x" * 500, "uri": "u" * 2000},
    {"text": "é" * 50},
    {"metadata": {"a": [1, 2.5, "x", None, True, {"b": []}]}},
    {"metadata": nested(4)},
    {"metadata": {"a": "x" * (16 * 1024 - 8)}},
]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"title": ""}, "invalid_input", "1 to 500"),
    ({"title": " \n"}, "invalid_input", "1 to 500"),
    ({"title": "\u200b"}, "invalid_input", "visible"),
    ({"title": "x" * 501}, "invalid_input", "1 to 500"),
    ({"title": "a\0"}, "invalid_text", "`title` has a NUL"),
    ({"title": "a\ud800"}, "invalid_text", "`title` has half"),
    ({"uri": ""}, "invalid_input", "left out"),
    ({"uri": "\ufeff"}, "invalid_input", "visible"),
    ({"uri": "u" * 2001}, "invalid_input", "1 to 2000"),
    ({"uri": "\0"}, "invalid_text", "`uri`"),
    ({"text": ""}, "empty_document", "no text"),
    ({"text": "\n \u2003"}, "empty_document", "no text"),
    ({"text": "\u200b"}, "empty_document", "no text"),
    ({"text": "\ufeff \u00ad\n"}, "empty_document", "no text"),
    ({"text": "\0"}, "invalid_text", "NUL character at position 0"),
    ({"text": "a\0"}, "invalid_text", "NUL character at position 1"),
    ({"text": "ab\udfff"}, "invalid_text", "position 2"),
    ({"text": "x" * 101}, "document_too_large", "100 bytes"),
    ({"text": "é" * 51}, "document_too_large", "100 bytes"),
    ({"metadata": {"a": "x" * (16 * 1024 - 7)}}, "invalid_metadata", "16,384"),
    ({"metadata": {"a\0": 1}}, "invalid_text", "`metadata`"),
    ({"metadata": {"a": ["\ud800"]}}, "invalid_text", "`metadata`"),
    ({"metadata": {"a": float("nan")}}, "invalid_metadata", "finite"),
    ({"metadata": {"a": 2**70}}, "invalid_metadata", "plain JSON"),
    ({"metadata": {1: "a"}}, "invalid_metadata", "plain JSON"),
    ({"metadata": {"a": object()}}, "invalid_metadata", "plain JSON"),
    ({"metadata": nested(5)}, "invalid_metadata", "4 levels"),
]


@pytest.mark.parametrize("values", GOOD)
def test_documents_that_are_accepted(values: dict[str, Any]) -> None:
    check_document(NewDocument(**{"title": "T", "text": "x", **values}), max_bytes=100)


@pytest.mark.parametrize(("values", "code", "words"), BAD)
def test_documents_that_are_refused(values: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(AppError) as caught:
        check_document(NewDocument(**{"title": "T", "text": "x", **values}), max_bytes=100)
    assert caught.value.code == code
    assert words in caught.value.message
    assert 400 <= caught.value.status < 500


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_files_are_found_once_sorted_and_named_by_their_folder(tmp_path: Path) -> None:
    put(tmp_path, "b.md", "a.txt", "sub/deep/c.JSON", "no.pdf", ".hidden.md", ".git/x.md")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again.md").symlink_to(tmp_path / "b.md")
    (tmp_path / "broken.md").symlink_to(tmp_path / "nowhere.md")
    assert [uri for _, uri in find_files([tmp_path])] == ["a.txt", "again.md", "sub/deep/c.JSON"]
    assert find_files([tmp_path / "b.md"]) == [(tmp_path / "b.md", "b.md")]
    twice = find_files([tmp_path / "a.txt", tmp_path])
    assert [uri for _, uri in twice] == ["a.txt", "again.md", "sub/deep/c.JSON"]
    assert find_files([tmp_path / ".git"]) == [(tmp_path / ".git" / "x.md", "x.md")]
    assert find_files([]) == []


def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    put(tmp_path, "one/a.md", "two/a.md", "x.pdf")
    with pytest.raises(InvalidInput, match="does not exist"):
        find_files([tmp_path / "missing"])
    with pytest.raises(UnsupportedMediaType, match="supported are"):
        find_files([tmp_path / "x.pdf"])
    with pytest.raises(InvalidInput, match="the folder that holds both"):
        find_files([tmp_path / "one", tmp_path / "two"])
