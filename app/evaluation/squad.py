"""SQuAD's JSON, nested as it is published or flat with `passages` and `questions`.

P. Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016.
A question's relevant document is the paragraph that it was asked about.
"""

from pydantic import BaseModel, ConfigDict

from app.evaluation.dataset import Dataset, DatasetProblem, Document, Query


class Part(BaseModel):
    """A part of the file: what else it has is of no concern here; ids may be numbers."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class Passage(Part):
    id: str
    title: str = ""
    text: str


class Question(Part):
    id: str
    question: str
    passage_id: str


class Flat(Part):
    passages: list[Passage]
    questions: list[Question]


class Asked(Part):
    id: str
    question: str
    is_impossible: bool = False


class Paragraph(Part):
    context: str
    qas: list[Asked]


class Article(Part):
    title: str = ""
    paragraphs: list[Paragraph]


class Nested(Part):
    data: list[Article]


def from_flat(name: str, file: Flat) -> Dataset:
    """Raises DatasetProblem for an id that is not there, or there twice."""
    documents = [Document(each.id, page_title(each.title), each.text) for each in file.passages]
    known = {document.id for document in documents}
    if len(known) < len(documents):
        raise DatasetProblem(f"{name}: two passages have the same `id`.")
    for each in file.questions:
        if each.passage_id not in known:
            raise DatasetProblem(
                f"{name}: question {each.id!r} names the passage {each.passage_id!r}, "
                "which is not in the file."
            )
    queries = [Query(each.id, each.question, {each.passage_id: 1}) for each in file.questions]
    return Dataset(name, documents, queries)


def from_nested(name: str, file: Nested) -> Dataset:
    """A paragraph that is there twice is one document; questions that SQuAD 2.0 marks as
    impossible are left out, because no paragraph answers them."""
    documents: dict[str, Document] = {}
    queries: list[Query] = []
    impossible = 0
    for article in file.data:
        for paragraph in article.paragraphs:
            own_id = f"{article.title}#{len(documents)}"
            new = Document(own_id, page_title(article.title), paragraph.context)
            document = documents.setdefault(paragraph.context, new)
            for asked in paragraph.qas:
                impossible += asked.is_impossible
                if not asked.is_impossible:
                    queries.append(Query(asked.id, asked.question, {document.id: 1}))
    notes = [f"Questions without an answer, left out: {impossible}"] if impossible else []
    return Dataset(name, list(documents.values()), queries, notes)


def page_title(title: str) -> str:
    """The title as people write it: SQuAD has that of the page's address, with underscores."""
    return title.replace("_", " ").strip()
