"""What a line of the log may have: fields on the list, errors without their texts, no secrets."""

import ast
import json
import logging
import logging.config
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import structlog
from uvicorn.config import LOGGING_CONFIG

import app
from app.chat.administration import AuditEntry
from app.errors import DatabaseUnavailable
from app.settings import ConfigurationError
from app.stores.roles import RoleReport
from app.telemetry import configure_logging
from app.telemetry.logs import FIELDS
from app.telemetry.redaction import REDACTED, Redaction
from app.telemetry.tracebacks import format_error
from tests.support.logged import logged

PACKAGE = Path(app.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# Of calls that pass a mapping on: what it has, which a test below or its type says.
MAPPINGS: Mapping[str, frozenset[str]] = {
    "chat/journal.py": frozenset(field.name for field in fields(AuditEntry)) - {"entry_id"},
    "ingest/ingestor.py": frozenset(("upload", "attempt")),
    "bootstrap/clients.py": frozenset(field.name for field in fields(RoleReport)),
    "stores/redis_cache.py": frozenset(("server",)),
}
OF_EVERY_LINE = frozenset(
    ("event", "level", "timestamp", "pid", "logger", "exception", "left_out", "request_id")
)
QUESTION = "why is the sky of that colour"  # never written where it is raised: frames are code
SECRET = 'pa"ss\\wörd/3@x'


def loggers(tree: ast.Module) -> set[str]:
    """Their names in a module."""
    return {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "structlog.get_logger"
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }


def calls(source: str) -> Iterator[ast.Call]:
    """Those of a module's loggers."""
    tree = ast.parse(source)
    known = loggers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if ast.unparse(node.func.value) in known:
                assert node.func.attr in LEVELS, ast.unparse(node)
                yield node
            elif ast.unparse(node.func) == "structlog.contextvars.bound_contextvars":
                yield node


def unseen(source: str) -> int:
    """How often a module does with a logger what `calls` does not find: it gives it another name,
    passes it on, makes one without a name, or has it from elsewhere."""
    tree = ast.parse(source)
    nodes, known = list(ast.walk(tree)), loggers(tree)
    told = [ast.unparse(node) for node in nodes if isinstance(getattr(node, "ctx", 0), ast.Load)]
    direct = [call for call in calls(source) if ast.unparse(call.func).partition(".")[0] in known]
    imported = [
        name.name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.name in ("log", "get_logger", "getLogger", "stdlib")
    ]
    mentioned = [text for text in told if text in known]
    made = [text for text in told if text in ("structlog.get_logger", "structlog.getLogger")]
    return len(mentioned) - len(direct) + len(made) - len(known) + len(imported)


def named() -> Iterator[tuple[str, str]]:
    """Every field of every call, with its file."""
    for file in PACKAGE.rglob("*.py"):
        relative = file.relative_to(PACKAGE).as_posix()
        for call in calls(file.read_text()):
            for keyword in call.keywords:
                if keyword.arg is None:
                    assert relative in MAPPINGS, f"{relative}:{call.lineno} passes a mapping on"
                    yield from ((relative, name) for name in MAPPINGS[relative])
                elif keyword.arg != "exc_info":
                    yield relative, keyword.arg


def test_every_field_that_is_logged_is_on_the_list() -> None:
    assert {each for each in named() if each[1] not in FIELDS} == set()


def test_every_call_of_a_logger_is_one_that_is_looked_at() -> None:
    found = {path: unseen(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert [path for path, times in found.items() if times] == []


@pytest.mark.parametrize(
    "code",
    [
        "log = structlog.get_logger()\ntell = log.info\ntell('x', secret=1)",
        "log = structlog.get_logger()\ntell = log.info if 1 else log.warning\ntell('x', secret=1)",
        "log = structlog.get_logger()\nother = log\nother.info('x', secret=1)",
        "log = structlog.get_logger()\ndo(log)",
        "structlog.get_logger().info('x', secret=1)",
        "from structlog import get_logger\nlog = get_logger()\nlog.info('x', secret=1)",
        "from app.elsewhere import log\nlog.info('x', secret=1)",
    ],
)
def test_a_call_in_disguise_is_noticed(code: str) -> None:
    assert unseen(code)
    assert not unseen("log = structlog.get_logger()\nlog.info('x', count=1)\nlog.log(20, 'x')")


def test_the_list_has_nothing_that_nobody_logs() -> None:
    assert FIELDS - {name for _, name in named()} <= OF_EVERY_LINE


def test_no_call_logs_the_text_of_an_error_that_is_not_ours() -> None:
    """Nor its repr: an error is `exc_info`, or the name of its class."""
    for file in PACKAGE.rglob("*.py"):
        for call in calls(file.read_text()):
            told = [ast.unparse(keyword.value) for keyword in call.keywords]
            assert not {"repr(error)", "str(error)", "error", "error.args"} & {
                text for text, keyword in zip(told, call.keywords, strict=True)
                if keyword.arg != "exc_info"
            }, f"{file}:{call.lineno}"  # fmt: skip


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_not_on_the_list_is_left_out_and_named() -> None:
    with logged() as text:
        structlog.get_logger("x").info("an event", code="c", question="Who?", password="p")
    [line] = lines(text.getvalue())
    assert (line["event"], line["code"]) == ("an event", "c")
    assert line["left_out"] == ["password", "question"]
    assert "Who?" not in text.getvalue()


@pytest.mark.parametrize("told", [SECRET, "pa%22ss%5Cw%C3%B6rd/3%40x", json.dumps(SECRET)])
def test_configured_secrets_are_taken_out(told: str) -> None:
    with logged(secrets=[SECRET, "short"]) as text:
        structlog.get_logger("x").info(f"connecting to {told}", reason=told, uploads=[{"a": told}])
        logging.getLogger("some.library").warning("no way to %s", told)
        sys.stderr.write("")
    assert text.getvalue().count(REDACTED) == 4
    for line in lines(text.getvalue()):
        assert "3@x" not in str(line) and "%40x" not in str(line)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("key cs_s_0123456789abcdefghij-_.", f"key {REDACTED}."),
        ("Incorrect API key provided: sk-proj-0123456789.", f"provided: {REDACTED}."),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", REDACTED),
        ("Authorization: Bearer abcd.efgh", f"Authorization: Bearer {REDACTED}"),
        ("b'authorization: bearer abcdefgh'", f"bearer {REDACTED}'"),
        ("Basic dXNlcjpwYXNz", f"Basic {REDACTED}"),
        ("at postgresql://app:pass@db:5432/x", f"postgresql://{REDACTED}@db:5432/x"),
        ("redis://:pass@cache", f"redis://{REDACTED}@cache"),
        ("GET /x?a=1&token=abc&b=2", f"/x?a=1&token={REDACTED}&b=2"),
        ("host=db password=abc user=x", f"host=db password={REDACTED} user=x"),
        ("OPENAI_API_KEY=abcdef", f"OPENAI_API_KEY={REDACTED}"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(told: str, left: str) -> None:
    assert Redaction()(told).endswith(left.partition(" ")[2] or left) or left in Redaction()(told)
    with logged() as text:
        structlog.get_logger("x").info(told)
    [line] = lines(text.getvalue())  # still JSON
    assert left in line["event"]


@pytest.mark.parametrize(
    "told",
    ["the task-force asks-around", "basic questions", "a bearer of news", "tokens = 5", "a://b/c",
     "cs_short", "keyed=1"],
)  # fmt: skip
def test_what_does_not_stays(told: str) -> None:
    assert Redaction()(told) == told


def fail(secret: str) -> None:
    try:
        raise ValueError(f"invalid literal: {secret}")
    except ValueError as error:
        raise DatabaseUnavailable from error


def test_an_error_is_told_with_its_frames_and_without_its_text() -> None:
    try:
        fail(QUESTION)
    except DatabaseUnavailable as error:
        text = format_error(error)
    assert QUESTION not in text
    assert "in fail\n" in text and 'raise ValueError(f"invalid literal' in text
    assert "\nValueError\n\nThe above exception was the direct cause" in text
    assert text.endswith(f"app.errors.DatabaseUnavailable: {DatabaseUnavailable().message}")


def test_a_text_that_says_what_to_set_stays() -> None:
    error = ConfigurationError("DATABASE_URL: set it.")
    assert format_error(error) == "app.settings.ConfigurationError: DATABASE_URL: set it."


def test_a_group_of_errors_and_a_circle() -> None:
    group = ExceptionGroup(QUESTION, [ValueError(QUESTION), KeyError(QUESTION)])
    group.__cause__ = group
    assert format_error(group) == "ExceptionGroup\n  | ValueError\n  | KeyError"
    try:
        try:
            raise ValueError(QUESTION)
        except ValueError:
            None.x  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        text = format_error(error)
    assert "During handling of the above exception" in text
    assert text.endswith("AttributeError: 'NoneType' object has no attribute 'x'")


def test_errors_of_libraries_go_the_same_way() -> None:
    with logged() as text:
        try:
            raise KeyError(QUESTION)
        except KeyError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n%s", "row")
            structlog.get_logger("x").exception("unhandled error")
        logging.getLogger("asyncpg").debug("not shown")
    for line in lines(text.getvalue()):
        assert line["exception"].endswith("\nKeyError")
        assert QUESTION not in line["exception"]
    first, second = lines(text.getvalue())
    assert (first["event"], first["logger"]) == ("Exception in ASGI application", "uvicorn.error")
    assert (second["event"], second["level"]) == ("unhandled error", "error")


def test_uvicorns_own_way_to_log_is_taken_over() -> None:
    with logged() as text:
        logging.config.dictConfig(LOGGING_CONFIG)
        configure_logging("info")
        access, server = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
        access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/x?token=abc", "1.1", 200)
        server.info("Uvicorn running on %s", "http://127.0.0.1:1")
        assert not access.hasHandlers()  # so uvicorn does not even make the lines
    [line] = lines(text.getvalue())
    assert line["event"] == "Uvicorn running on http://127.0.0.1:1"


def test_it_can_be_set_up_again() -> None:
    with logged("error") as text:
        configure_logging("warning")
        configure_logging("warning", one_of_several=True)
        logging.getLogger("library").warning("once")
    [line] = lines(text.getvalue())
    assert line["pid"]


def test_what_ends_the_process_is_told_the_same_way() -> None:
    with logged() as text:
        try:
            raise ValueError(QUESTION)
        except ValueError as error:
            sys.excepthook(ValueError, error, error.__traceback__)
    [line] = lines(text.getvalue())
    assert (line["level"], line["event"]) == ("critical", "ended by an error")
    assert QUESTION not in text.getvalue()


def test_each_of_several_processes_says_which_it_is() -> None:
    with logged(one_of_several=True) as text:
        structlog.get_logger("x").info("ours")
        logging.getLogger("library").warning("theirs")
    assert all(line["pid"] for line in lines(text.getvalue()))
