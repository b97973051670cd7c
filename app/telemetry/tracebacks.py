"""An error in a log: its class and where it was raised, not what its text says.

A driver's text has the row that it refused, a vendor's the key that it was sent, a parser's the
document. What is needed to find a defect are frames, which are code.
"""

import traceback
from collections.abc import Iterator

from app.errors import AppError

# Their texts are ours, or name parts of the code; so are those of a class that says `safe_to_show`.
WITH_TEXT = (AppError, AttributeError, NameError, ImportError, NotImplementedError)
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_error(error: BaseException) -> str:
    """The error with what has caused it, as Python prints it, without texts that hold data."""
    return "".join(_parts(error, set())).rstrip("\n")


def _parts(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__
    context = None if cause or error.__suppress_context__ else error.__context__
    for before, sentence in ((cause, CAUSED), (context, DURING)):
        if before is not None and id(before) not in seen:
            yield from _parts(before, seen)
            yield sentence
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{_name(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            if id(part) not in seen:
                yield "".join(f"  | {line}" for line in _lines(part, seen))


def _lines(part: BaseException, seen: set[int]) -> list[str]:
    return "".join(_parts(part, seen)).splitlines(keepends=True)


def _name(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    with_text = isinstance(error, WITH_TEXT) or getattr(kind, "safe_to_show", False)
    return f"{name}: {error}" if with_text else name
