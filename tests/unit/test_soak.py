"""The frame of the soak: what a row comes to, and that none hides another."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.__main__ import all_rows, main
from tests.soak.encoder_change.library import Library
from tests.soak.encoder_change.rankings import Rankings
from tests.soak.row import Figures, Row, Stage, at_least, at_most
from tests.support.encoder import cosine
from tests.support.reencoding import DenseEncoder


async def passes(stage: Stage) -> Figures:
    yield "errors", 0
    yield "requests", 1234
    stage.note(f"Chance said {stage.chance.randint(0, 0)} within {stage.seconds:g} s.")


async def breaks(stage: Stage) -> Figures:
    yield "errors", 1
    yield "requests", 10


async def crashes(stage: Stage) -> Figures:
    yield "requests", 10
    raise ExceptionGroup("clients", [ValueError("no such thing")])


async def forgets(stage: Stage) -> Figures:
    yield "errors", 0


LIMITS = {"errors": at_most(0), "requests": at_least(10)}
ROWS = {
    number: Row(number, f"It {measure.__name__}", LIMITS, ("requests",), measure, seconds=5)
    for number, measure in enumerate((passes, breaks, crashes, forgets), start=1)
}


def test_a_row_within_its_limits_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1"], ROWS) == 0
    printed = capsys.readouterr().out
    assert "| 1   | It passes | after 0 s |" in printed
    assert "Row 1: Chance said 0 within 5 s." in printed
    [line] = [each for each in printed.splitlines() if "| requests " in each and "≥" in each]
    assert [each.strip() for each in line.split("|")[3:7]] == ["requests", "1,234", "≥ 10", "kept"]
    assert "| 1 | It passes | requests 1,234 |" in printed
    assert "It breaks" not in printed


def test_a_broken_or_crashed_row_hides_none_and_decides_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "figures.json"
    assert main(["--seconds", "1", "--output", str(output)], ROWS) == 1
    written = json.loads(output.read_text())
    verdicts = {each["row"]: each["verdict"] for each in written["rows"]}
    assert (written["kept"], verdicts) == (
        False,
        {1: "kept", 2: "BROKEN", 3: "BROKEN", 4: "BROKEN"},
    )
    broken, crashed, forgot = written["rows"][1:]
    assert (broken["error"], broken["figures"]) == (None, {"errors": 1, "requests": 10})
    assert (crashed["error"], crashed["figures"]) == ("ValueError: no such thing", {"requests": 10})
    assert forgot["figures"] == {"errors": 0}
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("ValueError: no such thing", "not measured"))
    assert "| 2 | It breaks | BROKEN |" in printed
    for each in (broken, crashed, forgot):  # what a broken row leaves to look at
        [where] = [note for note in each["notes"] if note.startswith("Logs are in ")]
        folder = Path(where.removeprefix("Logs are in ").removesuffix("."))
        assert (folder / "traceback.txt").is_file() == (each is crashed)
        (folder / "traceback.txt").unlink(missing_ok=True)
        folder.rmdir()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["9"], "there is no row 9 (yet); known are 1, 2, 3, 4"),
        (["x"], "invalid int value: 'x'"),
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["--output", "/no/such/folder/file"], "there is no folder /no/such/folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, ROWS)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_every_row_declares_limits_and_is_told_by_help() -> None:
    rows = all_rows()
    assert all(number == row.number and row.limits for number, row in rows.items())
    assert all(row.headline and {*row.headline} <= {*row.limits} for row in rows.values())
    printed = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    ).stdout
    assert all(row.promise in printed for row in rows.values())


async def test_row_17_knows_one_encoders_order_from_a_mixed_or_a_short_one() -> None:
    encoders = [DenseEncoder("old", 96), DenseEncoder("new", 64)]
    library, rankings = Library(random.Random(1)), Rankings(encoders)
    texts = [text for n in range(50) for text in library.compose(f"note-{n}").encoded]
    await rankings.learn(texts)
    rankings.fix(texts)

    def found(encoder: DenseEncoder, among: list[str]) -> list[str]:
        asked = encoder.vector(texts[0])
        return sorted(among, key=lambda text: -cosine(asked, encoder.vector(text)))[:10]

    old, new = (found(each, texts) for each in encoders)
    assert rankings.whose(texts[0], old, whole=True) == {"old"}
    assert rankings.whose(texts[0], new, whole=True) == {"new"}
    assert rankings.whose(texts[0], old[:5] + new[1:6], whole=False) == set()
    half_filled = found(encoders[1], texts[:100])
    assert rankings.whose(texts[0], half_filled, whole=True) == set()


def test_row_17_judges_only_what_did_not_change_meanwhile() -> None:
    library = Library(random.Random(1))
    first, second = library.compose("a"), library.compose("a")
    assert (len(first.chunks), first.encoded[0]) == (4, f"Note a\n{first.chunks[0]}")
    library.begin("a")
    assert library.state("a", library.now) is None
    library.settle("a", first)
    since = library.now
    assert (entry := library.state("a", since)) and entry.document is first
    library.begin("a")
    assert library.state("a", since) is None
    library.settle("a", second)
    assert library.state("a", since) is None
    library.begin("a")
    library.settle("a", None)
    assert (entry := library.state("a", library.now)) and entry.document is None
