"""Requests made from an OpenAPI document: right ones, nearly right ones, and hostile ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Json = Any
Header = tuple[bytes, bytes]

SHOWN_BYTES = 300
WHOLE, SURPLUS = object(), object()  # of an object with fields: which part of it is spoilt
BLANK_MEGABYTE = " " * 1_000_000
SENTENCES = ("What React projects are there?", "Hola", "Atlas was finished in 2021.", "x" * 8_000)
HOSTILE_TEXTS = (
    "",
    "\t\n ",
    "\0",
    "a\0b",
    "\x1b[2J",
    "\ud800",
    "\udfff\ud800",
    "\u202e\u200b\ufeff",
    "e\u0301" * 4_000,
    "x" * 8_001,
    BLANK_MEGABYTE,
    "\0" * 1_000_000,
    "' OR 'a'='a'; --",
    "%s %n {0} ${x} \\",
    "../../../etc/passwd",
    "١٢٣",
)
HOSTILE_NUMBERS = (-1, 0, 1.5, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0)
HOSTILE_VALUES: tuple[Json, ...] = (
    *HOSTILE_TEXTS,
    *HOSTILE_NUMBERS,
    float("nan"),
    float("inf"),
    None,
    True,
    [],
    {},
    [[]],
    [None] * 5_000,
    {"a": {"b": {"c": {"d": {"e": 1}}}}},
    json.loads("[" * 40 + "]" * 40),
    {"\0": 1, "\ud800": 2, "": 3},
    {str(number): number for number in range(50)},
)
HOSTILE_BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"message": "\xff"}',
    b'{"message": "\xed\xa0\x80"}',
    b'{"message": "a", "message": "b"}',
    b'{"name": 1' + b"0" * 5_000 + b"}",
    b'{"name": 1e99999}',
    b'{"name": "\\u0000"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\0" * 1_000,
    b" " * 1_000_000,
    b'{"name": "' + b"x" * 1_000_000 + b'"}',
)
HOSTILE_SEGMENTS = (
    "0",
    "-1",
    "1.0",
    "+1",
    "0x1",
    "%00",
    "%FF%FE",
    "%ED%A0%80",
    "%2F",
    "..",
    ".",
    "",
    "%20",
    "1%0d%0aX-Injected:%201",
    str(2**63),
    "9" * 5_000,
    "null",
    "00000000-0000-0000-0000-000000000000",
    "g" * 36,
    "%F0%9F%98%80",
)
HOSTILE_QUERIES = (
    b"%",
    b"%zz=%",
    b"=&&=&",
    b"limit=1&limit=2",
    b"limit=%00",
    b"limit=" + b"9" * 5_000,
    b"after=%ff%fe",
    b"after=9223372036854775807",
    b"after=9223372036854775808",
    b"after=0.00000000000000000000000000000000",
    b"after=99999999999999999.00000000000000000000000000000000",
    b"agent_id=-1",
    b"agent_id=1e5",
    b"portfolio_id=9223372036854775808",
    b"wait=maybe",
    b"a[]=1;b",
    b"x=" + b"y" * 10_000,
    b"%C3%A9=%FF",
)
JSON_TYPES = (b"application/json", b"Application/JSON; charset=utf-8")
HOSTILE_TYPES = (
    b"",
    b"text/plain",
    b"application/xml",
    b"application/json\xff",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"b" * 300,
    b"multipart/form-data; boundary=b; charset=utf-7",
    b";;;",
)
HOSTILE_HEADERS: tuple[Header, ...] = (
    (b"X-Request-ID", b"a b\xff"),
    (b"X-Request-ID", b"x" * 5_000),
    (b"Accept", b"application/x-nothing;q=2"),
    (b"Accept-Language", b"\xff,*;q=0"),
    (b"Content-Encoding", b"gzip"),
    (b"Cookie", b"=;=\xfe"),
    (b"Expect", b"something"),
    (b"Idempotency-Key", b"\x80" * 300),
    (b"If-None-Match", b'W/"x", *'),
    (b"Last-Event-ID", b"-1"),
    (b"Last-Event-ID", b"\xff"),
    (b"Last-Event-ID", b"99999999999999999999"),
    (b"Origin", b"null"),
    (b"Range", b"bytes=0-0,-1"),
    (b"X-Forwarded-For", b"\xff, 127.0.0.1"),
    (b"X-HTTP-Method-Override", b"DELETE"),
)
CREDENTIALS = (b"", b"Bearer", b"Bearer \xff", b"Basic Og==", b"Bearer " + b"k" * 5_000)
FILES = (
    ("note.md", b"# Atlas\n\nA dashboard built with React."),
    ("note.json", b'{"title": "T", "text": "Text."}'),
    ("note.json", b'[{"title": "T", "text": "\\ud800"}]'),
    ("note.json", b"[" * 5_000),
    ("note.json", b"{"),
    ("lines.jsonl", b'{"title": "T", "text": "Text."}\n\n{}'),
    ("empty.md", b""),
    ("blank.txt", b" " * 1_000_000),
    ("latin.txt", b"ma\xf1ana"),
    ("utf16.txt", "mañana".encode("utf-16")),
    ("nul.txt", b"a\0b"),
    ("paper.md", b"%PDF-1.7"),
    ("paper.docx", b"PK\x03\x04"),
    ("", b"text"),
    ("../../etc/passwd.md", b"text"),
    ("\xff\0.md", b"text"),
    ("n" * 3_000 + ".md", b"text"),
)


@dataclass(frozen=True, repr=False)
class Request:
    """What goes over the wire."""

    method: str
    target: bytes
    headers: Sequence[Header]
    body: bytes

    def __repr__(self) -> str:
        """Short: hypothesis shows it, and a body may have a megabyte."""
        headers = [name + b": " + value[:SHOWN_BYTES] for name, value in self.headers]
        return (
            f"Request({self.method} {self.target[:SHOWN_BYTES]!r}, {headers}, "
            f"{len(self.body)} bytes {self.body[:SHOWN_BYTES]!r})"
        )


def requests_of(
    method: str, path: str, operation: Mapping[str, Any], ids: Mapping[str, st.SearchStrategy[Json]]
) -> SearchStrategy[Request]:
    """Requests to one operation. `ids` gives for the name of an id values that mean something."""
    return st.builds(
        lambda method, target, headers, body: Request(
            method, target, [*headers, *body[0]], body[1]
        ),
        mostly(st.just(method), st.sampled_from(("PUT", "OPTIONS", "TRACE", "PROPFIND"))),
        targets(path, operation, ids),
        st.lists(st.sampled_from(HOSTILE_HEADERS), max_size=2),
        bodies(operation, ids),
    )


def mostly(usual: SearchStrategy[Json], unusual: SearchStrategy[Json]) -> SearchStrategy[Json]:
    """One in six is unusual."""
    return st.integers(0, 5).flatmap(lambda die: unusual if die == 5 else usual)


def targets(
    path: str, operation: Mapping[str, Any], ids: Mapping[str, SearchStrategy[Json]]
) -> SearchStrategy[bytes]:
    """The path with its parameters filled in, and a query."""
    parameters = operation.get("parameters", ())
    segments = {
        each["name"]: mostly(ids[each["name"]].map(str), st.sampled_from(HOSTILE_SEGMENTS))
        for each in parameters
        if each["in"] == "path"
    }
    right = {
        each["name"]: ids.get(each["name"], values(each["schema"], ids))
        for each in parameters
        if each["in"] == "query"
    }
    queries = mostly(
        st.fixed_dictionaries({}, optional=right).map(encoded), st.sampled_from(HOSTILE_QUERIES)
    )
    return st.builds(
        lambda filled, query: path.format(**filled).encode() + b"?" + query,
        st.fixed_dictionaries(segments),
        queries,
    )


def encoded(query: Mapping[str, Json]) -> bytes:
    texts = {name: str(value).encode(errors="replace") for name, value in query.items()}
    return urlencode(texts, quote_via=quote).encode()


def bodies(
    operation: Mapping[str, Any], ids: Mapping[str, SearchStrategy[Json]]
) -> SearchStrategy[tuple[Sequence[Header], bytes]]:
    """Bodies of one of the operation's content types, or of none of them, with their header."""
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return st.just(((), b""))
    right = [json_bodies(content["application/json"]["schema"], ids)]
    if "multipart/form-data" in content:
        right.append(multipart_bodies())
    hostile = st.tuples(
        st.sampled_from(HOSTILE_TYPES + JSON_TYPES), st.sampled_from(HOSTILE_BODIES) | st.binary()
    )
    return mostly(st.one_of(right), hostile).map(
        lambda pair: ([(b"Content-Type", pair[0])], pair[1])
    )


def json_bodies(
    schema: Mapping[str, Any], ids: Mapping[str, SearchStrategy[Json]]
) -> SearchStrategy[tuple[bytes, bytes]]:
    """As the schema has it, and half of them with something wrong somewhere inside."""
    right = values(schema, ids)
    broken = right.flatmap(lambda value: spoilt(value))
    return st.tuples(st.sampled_from(JSON_TYPES), (right | broken).map(dumped))


def dumped(value: Json) -> bytes:
    return json.dumps(value).encode()


@st.composite
def spoilt(draw: st.DrawFn, value: Json) -> Json:
    """The value with one part of it replaced by a hostile one, or with a field too many."""
    hostile = st.sampled_from(HOSTILE_VALUES)
    if isinstance(value, dict):
        way = draw(st.sampled_from([WHOLE, SURPLUS, *list(value) * 3]))
        if way is not WHOLE:
            name, part = ("surplus", hostile) if way is SURPLUS else (way, spoilt(value[way]))
            return {**value, name: draw(part)}
    elif isinstance(value, list):
        place = draw(st.integers(-1, 3 * len(value) - 1)) // 3
        if place >= 0:
            return [*value[:place], draw(spoilt(value[place])), *value[place + 1 :]]
    return draw(hostile)


def values(
    schema: Mapping[str, Any], ids: Mapping[str, SearchStrategy[Json]]
) -> SearchStrategy[Json]:
    """Values of a JSON schema, as far as the service's own document goes."""
    if "anyOf" in schema:
        return st.one_of([values(option, ids) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return texts(schema)
        case "integer":
            return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))
        case "number":
            bounds = (schema.get("minimum"), schema.get("maximum"))
            return st.floats(*bounds, allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(
                values(schema["items"], ids), min_size=schema.get("minItems", 0), max_size=3
            )
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            fields = {
                name: ids.get(name, values(field, ids))
                for name, field in schema["properties"].items()
            }
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in required},
                optional={name: field for name, field in fields.items() if name not in required},
            )
        case "object":
            further = schema.get("additionalProperties", True)
            of = json_values() if further is True else values(further, ids)
            return st.dictionaries(st.text(max_size=20), of, max_size=3)
    return json_values()


def json_values() -> SearchStrategy[Json]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
        max_leaves=8,
    )


def texts(schema: Mapping[str, Any]) -> SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    most = schema.get("maxLength", 8_000)
    plain = st.sampled_from([text[:most] for text in SENTENCES])
    return plain | st.text(min_size=schema.get("minLength", 0), max_size=min(most, 50))


def multipart_bodies() -> SearchStrategy[tuple[bytes, bytes]]:
    """Files in a form, sometimes a form that breaks off or has a part that is not a file."""
    parts = st.lists(
        st.sampled_from(FILES).map(lambda file: part(*file))
        | st.just(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nvalue\r\n'),
        max_size=3,
    )
    ends = mostly(st.just(b"--b--\r\n"), st.sampled_from((b"", b"--b", b"--b\r\n\r\n", b"--c--")))
    return st.tuples(
        st.just(b"multipart/form-data; boundary=b"),
        st.builds(lambda pieces, end: b"".join(pieces) + end, parts, ends),
    )


def part(name: str, data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n'
    return head % name.encode("latin-1") + data + b"\r\n"
