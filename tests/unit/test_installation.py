"""A command that begins a new installation says where."""

from pathlib import Path

import pytest

from app.commands.installation import settings_here


@pytest.mark.parametrize(
    ("there", "database_url", "said"),
    [
        ([], None, True),
        (["models"], None, True),
        (["postgres"], None, False),
        (["postgres.location"], None, False),
        ([], "postgresql://citestream@127.0.0.1/citestream", False),
    ],
)
def test_a_new_installation_is_announced_with_its_folder(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    there: list[str],
    database_url: str | None,
    said: bool,
) -> None:
    monkeypatch.setenv("CITESTREAM_DATA", ".citestream")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if database_url is not None:
        monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    for name in there:
        (tmp_path / ".citestream" / name).mkdir(parents=True)
    settings_here()
    line = (
        f"Making a new, empty installation in {tmp_path / '.citestream'}; "
        "CITESTREAM_DATA names another.\n"
    )
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line if said else "")
