"""A data set for measuring retrieval: documents, questions, and which of them belong together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from app.errors import InvalidInput


class DatasetProblem(InvalidInput):
    """The data set cannot be used; see the message for the file and what it should have."""


@dataclass(frozen=True, slots=True)
class Document:
    """What is judged: a paragraph or an article, of however many chunks. `title` may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question. `relevant` are grades above 0 by document; `excluded` is a document that is the
    question itself, and so does not count where it is found."""

    id: str
    text: str
    relevant: Mapping[str, int]
    excluded: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Every query has at least one relevant document. `notes` say what was left out, and why."""

    name: str
    documents: Sequence[Document]
    queries: Sequence[Query]
    notes: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """The same for the same documents in the same order, whatever is asked of them."""
        digest = hashlib.sha256()
        for document in self.documents:
            parts = f"{document.id}\0{document.title}\0{document.text}\0"
            digest.update(parts.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong in a file, with its place."""
    detail = error.errors()[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"`{place}`: {detail['msg']}." if place else f"{detail['msg']}."
