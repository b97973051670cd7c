"""What `citestream ingest` leaves out of a folder, and how it says so."""

from pathlib import Path

import pytest

from app.commands.ingest import NAMED, said_of
from app.errors import UnsupportedMediaType
from app.ingest.files import find_files, left_out


def test_what_is_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("read.md", "deep/report.pdf", "letter.docx", "LICENSE", ".hidden.pdf"):
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "broken.md").symlink_to(tmp_path / "nowhere.md")
    unread = "a type that is not read"
    assert left_out([tmp_path / "read.md", tmp_path]) == [
        ("LICENSE", unread),
        ("broken.md", "a link that leads nowhere"),
        ("deep/report.pdf", unread),
        ("letter.docx", unread),
        ("loop", "a link to a folder"),
    ]


def test_a_file_that_is_given_by_itself_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_text("x")
    with pytest.raises(UnsupportedMediaType, match="pdftotext"):
        find_files([tmp_path / "report.pdf"])


def test_it_is_said_how_to_convert_it_and_only_some_of_much_is_named() -> None:
    assert said_of([]) == ""
    said = said_of([(f"{number:02}.pdf", "why") for number in range(NAMED + 3)])
    assert said.startswith("Left out: 00.pdf (why), 01.pdf (why),")
    assert f"{NAMED - 1:02}.pdf (why) and 3 more. Supported are .md, " in said
    assert "pdftotext" in said and "pandoc" in said
