"""How the commands run, and what they have in common."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import typer


def complete(command: Coroutine[Any, Any, Any]) -> Any:
    """Run a command; expected failures become one sentence and exit code 1."""
    import uvloop

    from app.commands.cycles import look_again
    from app.telemetry import configure_logging

    look_again()
    configure_logging("warning")  # `run` and `serve` set the level that is configured
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    except Exception as error:
        from app.commands.failures import sentence

        line = sentence(error)
        if line is None:
            raise
        print(f"citestream: {line}", file=sys.stderr)
        raise typer.Exit(1) from None


def with_files(command: Callable[..., Any], *arguments: Any) -> Any:
    """Call a command that reads files; one that cannot be read is exit code 2."""
    from rich.console import Console

    from app.commands.cycles import look_again
    from app.errors import InvalidInput

    look_again()
    try:
        return command(*arguments, Console())
    except InvalidInput as error:
        print(f"citestream: {error.message}", file=sys.stderr)
        raise typer.Exit(2) from None


def listed(text: str) -> list[str]:
    """The parts between commas, each once."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise typer.BadParameter("An option that takes a list is empty.")
    return parts


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--k takes whole numbers, not {text!r}.") from None


def say(line: str) -> None:
    print(line, flush=True)
