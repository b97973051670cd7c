"""Taking secrets out of lines: those that are configured, and whatever looks like one.

The last of several defences: nothing of ours logs a secret, but a library's message or an error's
text may carry one.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

REDACTED = "[redacted]"
# Shorter ones would take whole words out of every line; production refuses them.
MIN_SECRET_CHARS = 6

BEARER = re.compile(r"(?i)\b(bearer(?:\s|%20|\+)+)[^\s\"'\\,;&]{4,}")
# What looks like a secret, each with a text that a line has where it may match: to look for that
# takes a twentieth of the time. Quotes and backslashes end one: lines are JSON. Group 1, if there
# is one, stays.
SHAPES: tuple[tuple[str, "re.Pattern[str]"], ...] = (
    ("cs_", re.compile(r"\bcs_[\w-]{16,}")),  # our API keys and sessions
    ("sk-", re.compile(r"\bsk-[\w-]{8,}")),  # keys of OpenAI and those that do likewise
    ("eyJ", re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*){0,2}")),  # JSON in base64url: a JWT
    ("earer", BEARER),
    ("EARER", BEARER),
    ("Basic ", re.compile(r"\b(Basic )[\w+/-]{4,}=*")),
    ("://", re.compile(r"(\w://)[^\s\"'\\/@?#]*@")),  # user and password of an address
    (
        "=",
        re.compile(
            r"(?i)\b((?:\w*(?:password|passwd|secret|token|api_?key|access_?key)|authorization)=)"
            r"[^\s\"'\\&,;)]+"
        ),
    ),
)


class Redaction:
    """Of these secrets, as they are and as URLs, Python and JSON (also within JSON) write them, and
    of all shapes."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        written = {
            form
            for secret in secrets
            if len(secret) >= MIN_SECRET_CHARS
            for form in (secret, quote(secret), quote(secret, ""), repr(secret)[1:-1])
        }
        once = {_in_json(form) for form in written}
        forms = written | once | {_in_json(form) for form in once}
        self._known = sorted(forms, key=len, reverse=True)  # one may be part of another

    def __call__(self, line: str) -> str:
        """The line without secrets."""
        for secret in self._known:
            if secret in line:
                line = line.replace(secret, REDACTED)
        for hint, shape in SHAPES:
            if hint in line:
                line = shape.sub(_redacted, line)
        return line


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _redacted(found: "re.Match[str]") -> str:
    kept = found[1] if found.re.groups else ""
    ending = "@" if found[0].endswith("@") else ""
    return f"{kept}{REDACTED}{ending}"
