"""The forms of data sets, and what is said of files that have none of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.evaluation.dataset import Dataset, DatasetProblem, Document, Query
from app.evaluation.reading import read_dataset

FLAT = {
    "passages": [
        {"id": "Otters#0", "title": "River_otters", "text": "Otters swim."},
        {"id": 2, "title": "", "text": "Herons fly."},
    ],
    "questions": [
        {"id": "q1", "question": "Who swims?", "passage_id": "Otters#0", "answer": "Otters"},
        {"id": "q2", "question": "Who flies?", "passage_id": 2, "answer": "Herons"},
    ],
}
NESTED = {
    "version": "v2.0",
    "data": [
        {
            "title": "River_otters",
            "paragraphs": [
                {
                    "context": "Otters swim.",
                    "qas": [
                        {"id": "q1", "question": "Who swims?", "answers": []},
                        {"id": "q2", "question": "Who sinks?", "is_impossible": True},
                    ],
                }
            ],
        },
        {
            "title": "Rivers",
            "paragraphs": [
                {"context": "Herons fly.", "qas": []},
                {
                    "context": "Otters swim.",
                    "qas": [{"id": "q3", "question": "What do otters do?", "answers": []}],
                },
            ],
        },
    ],
}


def written(folder: Path, content: object) -> Path:
    file = folder / "animals.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def beir(
    folder: Path,
    qrels: Mapping[str, str],
    corpus: str = '{"_id": "d1", "title": "Otters", "text": "They swim."}\n',
    queries: str = '{"_id": "q1", "text": "Who swims?"}\n',
) -> Path:
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels").mkdir()
    for name, lines in qrels.items():
        (folder / "qrels" / name).write_text(lines)
    return folder


def test_squads_form_flat(tmp_path: Path) -> None:
    assert read_dataset(written(tmp_path, FLAT)) == Dataset(
        "animals",
        [Document("Otters#0", "River otters", "Otters swim."), Document("2", "", "Herons fly.")],
        [Query("q1", "Who swims?", {"Otters#0": 1}), Query("q2", "Who flies?", {"2": 1})],
    )


def test_squads_form_as_published(tmp_path: Path) -> None:
    read = read_dataset(written(tmp_path, NESTED))
    assert [document.text for document in read.documents] == ["Otters swim.", "Herons fly."]
    otters = read.documents[0]
    assert otters.title == "River otters"
    assert [(query.id, query.relevant) for query in read.queries] == [
        ("q1", {otters.id: 1}),
        ("q3", {otters.id: 1}),
    ]
    assert read.notes == ["Questions without an answer, left out: 1"]


def test_beirs_form(tmp_path: Path) -> None:
    corpus = [
        {"_id": "d1", "title": "Otters", "text": "They swim.", "metadata": {}},
        {"_id": "d2", "title": "Herons", "text": " "},
        {"_id": "d3", "text": ""},
    ]
    queries = [{"_id": "q1", "text": "Who swims?"}, {"_id": "q2", "text": "Nobody asked."}]
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq1\td9\t1\n"
    folder = beir(
        tmp_path,
        {"test.tsv": qrels, "train.tsv": "q2\td1\t1\n"},
        "\n".join(json.dumps(each) for each in corpus) + "\n\n",
        "\n".join(json.dumps(each) for each in queries),
    )
    read = read_dataset(folder)
    assert read.documents == [
        Document("d1", "Otters", "They swim."),
        Document("d2", "Herons", "Herons"),
    ]
    assert read.queries == [Query("q1", "Who swims?", {"d1": 2, "d9": 1}, excluded="q1")]
    assert read.name == tmp_path.name
    assert read.notes == [
        "Documents without text, left out: 1",
        "Relevant documents that are not in the corpus: 1",
    ]


def test_without_the_published_split_every_one_counts(tmp_path: Path) -> None:
    queries = '{"_id": "q1", "text": "Who?"}\n{"_id": "q2", "text": "What?"}\n'
    folder = beir(tmp_path, {"dev.tsv": "q1\td1\t1\n", "train.tsv": "q2\td1\t1"}, queries=queries)
    assert [query.id for query in read_dataset(folder).queries] == ["q1", "q2"]


def test_a_limit_is_of_questions_and_leaves_every_document(tmp_path: Path) -> None:
    read = read_dataset(written(tmp_path, FLAT), limit=1)
    assert (len(read.documents), [query.id for query in read.queries]) == (2, ["q1"])


def test_the_fingerprint_is_of_the_documents_alone(tmp_path: Path) -> None:
    whole = read_dataset(written(tmp_path, FLAT))
    assert read_dataset(written(tmp_path, FLAT), limit=1).fingerprint == whole.fingerprint
    changed: dict[str, Any] = json.loads(json.dumps(FLAT))
    changed["passages"][1]["text"] = "Herons wade."
    assert read_dataset(written(tmp_path, changed)).fingerprint != whole.fingerprint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not JSON"),
        ("[1, 2]", "is none of the known forms; give a JSON file"),
        ('{"texts": []}', "is none of the known forms"),
        ({"passages": [], "questions": []}, "has no documents"),
        ({**FLAT, "questions": []}, "has no question with a relevant document"),
        ({"passages": [{"id": "1"}], "questions": []}, "`passages.0.text`: Field required"),
        ({"data": [{"title": "One"}]}, "`data.0.paragraphs`: Field required"),
        (
            {**FLAT, "questions": [{"id": "q", "question": "?", "passage_id": "x"}]},
            "question 'q' names the passage 'x', which is not in the file",
        ),
        ({**FLAT, "passages": [*FLAT["passages"], FLAT["passages"][0]]}, "the same `id`"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path, content: object, says: str
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(DatasetProblem) as problem:
        read_dataset(file)
    assert says in problem.value.message
    assert problem.value.message.startswith((str(file), "animals:"))


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes('{"data": "ñ"}'.encode("latin-1"))
    with pytest.raises(DatasetProblem, match="is not JSON"):
        read_dataset(tmp_path / "latin.json")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetProblem, match="does not exist; give a JSON file as SQuAD's"):
        read_dataset(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("qrels", "corpus", "says"),
    [
        ({}, '{"_id": "d1", "text": "x"}', "has no judgements"),
        ({"test.tsv": ""}, '{"_id": "d1", "text": "x"}', "has no judgements"),
        ({"test.tsv": "q1\td1\t0"}, '{"_id": "d1", "text": "x"}', "has no judgements"),
        ({"test.tsv": "q1 d1 1"}, '{"_id": "d1", "text": "x"}', "test.tsv, line 1: not a query-id"),
        ({"test.tsv": "q1\td1\t1"}, "", "has no documents"),
        ({"test.tsv": "q1\td1\t1"}, "{", "corpus.jsonl, line 1:"),
        ({"test.tsv": "q1\td1\t1"}, '{"text": "x"}', "corpus.jsonl, line 1: `_id`"),
        (
            {"test.tsv": "q9\td1\t1"},
            '{"_id": "d1", "text": "x"}',
            "has no question with a relevant",
        ),
        (
            {"test.tsv": "q1\td1\t1"},
            '{"_id": "d1", "text": "x"}\n{"_id": "d1", "text": "y"}',
            "has the `_id` 'd1' twice",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(
    tmp_path: Path, qrels: dict[str, str], corpus: str, says: str
) -> None:
    with pytest.raises(DatasetProblem) as problem:
        read_dataset(beir(tmp_path, qrels, corpus))
    assert says in problem.value.message


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_folder_that_lacks_a_file(tmp_path: Path, missing: str) -> None:
    folder = beir(tmp_path, {"test.tsv": "q1\td1\t1"})
    (folder / missing).unlink()
    with pytest.raises(DatasetProblem, match=r"cannot be read: No such|has no judgements"):
        read_dataset(folder)
