"""The table of codes in docs/http.md has every code that a caller can meet, and no other."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import app
from app.api.problems import ROUTING_CODES
from app.errors import AppError

PACKAGE = Path(app.__file__).parent
REFERENCE = PACKAGE.parent / "docs" / "http.md"
DEFINES_A_CODE = re.compile(r'^    code = "', re.MULTILINE)
ROW = re.compile(
    r"^\| `(?P<code>[a-z_]+)` \| (?P<status>\d{3}) \| (?P<advice>.+) \|$", re.MULTILINE
)


def import_every_error() -> None:
    for file in PACKAGE.rglob("*.py"):
        if DEFINES_A_CODE.search(file.read_text()):
            importlib.import_module(
                ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
            )


def tree(error: type[AppError]) -> Iterator[type[AppError]]:
    yield error
    for kind in error.__subclasses__():
        yield from tree(kind)


def ours() -> list[type[AppError]]:
    import_every_error()
    return [error for error in tree(AppError) if error.__module__.startswith("app.")]


def test_the_table_lists_every_code_with_its_status() -> None:
    raised = {(error.code, error.status) for error in ours()}
    routed = {(code, status) for status, code in ROUTING_CODES.items()}
    rows = [(row["code"], int(row["status"])) for row in ROW.finditer(REFERENCE.read_text())]
    assert sorted(rows) == sorted(raised | routed)


def test_the_table_says_what_can_be_tried_again() -> None:
    advice = {row["code"]: row["advice"] for row in ROW.finditer(REFERENCE.read_text())}
    for error in ours():
        assert ("`retryable`" in advice[error.code]) == error.retryable, error.code


def test_every_error_says_something() -> None:
    assert all(error().message.endswith((".", "`.")) for error in ours())
