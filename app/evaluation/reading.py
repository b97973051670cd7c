"""Which form a data set has, and its reading."""

from dataclasses import replace
from pathlib import Path

import orjson
from pydantic import ValidationError

from app.evaluation.beir import CORPUS, QRELS, QUERIES, read_folder
from app.evaluation.dataset import Dataset, DatasetProblem, first_error
from app.evaluation.squad import Flat, Nested, from_flat, from_nested

FORMS = (
    "a JSON file as SQuAD's (`data`, or `passages` and `questions`), or a folder as BEIR's "
    f"({CORPUS}, {QUERIES}, {QRELS}/*.tsv)"
)


def read_dataset(path: Path, limit: int | None = None) -> Dataset:
    """The data set at a path, with its first `limit` queries or all of them.

    Raises DatasetProblem, in one sentence, for what is missing, of another form, or empty.
    """
    if not path.exists():
        raise DatasetProblem(f"{path} does not exist; give {FORMS}.")
    dataset = read_folder(path) if path.is_dir() else read_file(path)
    if not dataset.documents:
        raise DatasetProblem(f"{path} has no documents.")
    if not dataset.queries:
        raise DatasetProblem(f"{path} has no question with a relevant document.")
    return replace(dataset, queries=dataset.queries[:limit])


def read_file(path: Path) -> Dataset:
    """SQuAD's JSON, in either form."""
    try:
        content = orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DatasetProblem(f"{path} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise DatasetProblem(f"{path} is not JSON: {error}.") from error
    keys = content.keys() if isinstance(content, dict) else set()
    try:
        if "data" in keys:
            return from_nested(path.stem, Nested.model_validate(content))
        if keys >= {"passages", "questions"}:
            return from_flat(path.stem, Flat.model_validate(content))
    except ValidationError as error:
        raise DatasetProblem(f"{path} is not as SQuAD's JSON: {first_error(error)}") from error
    raise DatasetProblem(f"{path} is none of the known forms; give {FORMS}.")
