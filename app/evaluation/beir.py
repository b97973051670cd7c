"""BEIR's folder: corpus.jsonl, queries.jsonl, qrels/*.tsv.

N. Thakur et al., "BEIR: a heterogeneous benchmark for zero-shot evaluation of information
retrieval models", NeurIPS 2021. Grades above 0 are relevant; a document with the question's own
id is not counted where it is found, as in BEIR's evaluation.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.evaluation.dataset import Dataset, DatasetProblem, Document, Query, first_error

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
# Whose figures are published; another split is taken only where there is no such file.
PUBLISHED_SPLIT = "test.tsv"


class Text(BaseModel):
    """A line of the corpus or of the queries."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: str = Field(alias="_id")
    title: str | None = None
    text: str


def read_folder(folder: Path) -> Dataset:
    """The data set; raises DatasetProblem for a missing file or a line that is wrong."""
    notes: list[str] = []
    documents = _documents(folder / CORPUS, notes)
    grades = _grades(folder / QRELS)
    queries = [
        Query(each.id, each.text, grades[each.id], excluded=each.id)
        for each in _lines(folder / QUERIES)
        if each.id in grades
    ]
    known = {document.id for document in documents}
    missing = {each for query in queries for each in query.relevant} - known
    if missing:
        notes.append(f"Relevant documents that are not in the corpus: {len(missing)}")
    return Dataset(folder.resolve().name, documents, queries, notes)


def _documents(file: Path, notes: list[str]) -> list[Document]:
    documents: dict[str, Document] = {}
    empty = 0
    for each in _lines(file):
        title = (each.title or "").strip()
        text = each.text if each.text.strip() else title
        if each.id in documents:
            raise DatasetProblem(f"{file} has the `_id` {each.id!r} twice.")
        if text:
            documents[each.id] = Document(each.id, title, text)
        else:
            empty += 1
    if empty:
        notes.append(f"Documents without text, left out: {empty}")
    return list(documents.values())


def _lines(file: Path) -> Iterator[Text]:
    with _opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield Text.model_validate_json(line)
            except ValidationError as error:
                raise DatasetProblem(f"{file}, line {number}: {first_error(error)}") from error


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield lines
    except OSError as error:
        raise DatasetProblem(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DatasetProblem(f"{file} is not UTF-8.") from error


def _grades(folder: Path) -> Mapping[str, Mapping[str, int]]:
    """Grades above 0 by query and document."""
    files = sorted(folder.glob("*.tsv"))
    files = [file for file in files if file.name == PUBLISHED_SPLIT] or files
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for file in files:
        for query, document, grade in _judgements(file):
            if grade > 0:
                grades[query][document] = grade
    if not grades:
        raise DatasetProblem(
            f"{folder} has no judgements: a .tsv file with lines of query-id, corpus-id and score."
        )
    return grades


def _judgements(file: Path) -> Iterator[tuple[str, str, int]]:
    """The lines of a qrels file; the first one may be a heading."""
    with _opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\r\n").split("\t")
            if fields == [""] or (number == 1 and fields[-1] == "score"):
                continue
            try:
                query, document, grade = fields
                yield query, document, int(grade)
            except ValueError:
                raise DatasetProblem(
                    f"{file}, line {number}: not a query-id, a corpus-id and a whole number, "
                    "parted by tabs."
                ) from None
