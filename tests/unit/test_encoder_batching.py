import pytest

from app.encoder.backend import InputType
from app.encoder.batching import (
    DOCUMENT_SHARE,
    WINDOW,
    Item,
    Job,
    Limits,
    Waiting,
    estimate_tokens,
    work,
)


def waiting(**limits: int) -> Waiting:
    return Waiting(Limits(**limits), max_tokens=256)


def job(*texts: str, kind: InputType = "document") -> Job:
    return Job(texts, kind)


def texts(batch: list[Item]) -> list[str]:
    return [item.text for item in batch]


def test_nothing_waits_at_first() -> None:
    queue = waiting()
    assert len(queue) == 0
    assert queue.take() == []


def test_queries_go_before_documents_that_came_earlier() -> None:
    queue = waiting()
    queue.add(job("document one", "document two"))
    queue.add(job("question", kind="query"))
    assert texts(queue.take()) == ["question"]
    assert sorted(texts(queue.take())) == ["document one", "document two"]
    assert queue.take() == []


def test_requests_share_a_batch() -> None:
    queue = waiting()
    jobs = [job(f"question {n}", kind="query") for n in range(3)]
    assert all(queue.add(each) for each in jobs)
    assert [item.job for item in queue.take()] == jobs


def test_documents_go_longest_first_and_like_lengths_together() -> None:
    queue = waiting(batch_tokens=60)
    queue.add(job("a", "b" * 80, "c", "d" * 72, "e"))
    assert texts(queue.take()) == ["b" * 80, "d" * 72]
    assert texts(queue.take()) == ["a", "c", "e"]


def test_a_window_is_emptied_before_longer_texts_that_came_later() -> None:
    queue = waiting(batch_texts=WINDOW // 2)
    queue.add(job(*["short"] * WINDOW))
    queue.add(job("long " * 50))
    assert texts(queue.take()) == ["short"] * (WINDOW // 2)
    assert texts(queue.take()) == ["short"] * (WINDOW // 2)
    assert texts(queue.take()) == ["long " * 50]


def test_padding_counts_and_one_text_always_fits() -> None:
    queue = waiting(batch_tokens=100)
    queue.add(job("x" * 5000, "y" * 5000, kind="query"))
    assert len(queue.take()) == 1
    assert len(queue.take()) == 1


def test_no_batch_exceeds_its_number_of_texts() -> None:
    queue = waiting(batch_texts=2)
    queue.add(job("a", "b", "c", kind="query"))
    assert texts(queue.take()) == ["a", "b"]
    assert texts(queue.take()) == ["c"]


def test_a_job_that_does_not_fit_is_refused_whole() -> None:
    queue = waiting(waiting_documents=3, waiting_queries=1)
    assert queue.add(job("a", "b"))
    assert not queue.add(job("c", "d"))
    assert len(queue) == 2
    assert queue.add(job("e"))


def test_documents_never_take_the_room_of_queries() -> None:
    queue = waiting(waiting_documents=1, waiting_queries=1)
    assert queue.add(job("a"))
    assert queue.add(job("q", kind="query"))
    assert not queue.add(job("r", kind="query"))


def test_the_window_counts_as_waiting() -> None:
    queue = waiting(waiting_documents=3, batch_texts=1)
    queue.add(job("a", "b", "c"))
    queue.take()
    assert not queue.add(job("d", "e"))
    assert queue.add(job("d"))


def test_what_is_removed_is_not_encoded() -> None:
    queue = waiting(batch_texts=1)
    gone, stays = job("a", "bb", "ccc"), job("d")
    queue.add(gone)
    queue.add(stays)
    queue.take()
    queue.remove(gone)
    assert texts(queue.take()) == ["d"]
    assert queue.take() == []


def test_drain_names_every_job() -> None:
    queue = waiting(batch_texts=1)
    jobs = {job("a", "b"), job("c"), job("q", kind="query")}
    for each in jobs:
        queue.add(each)
    assert queue.drain() == jobs
    assert len(queue) == 0


def test_a_job_collects_its_results_in_its_own_order() -> None:
    one = job("a", "b")
    one.put(1, b"B", 3, True)
    assert one.missing == 1
    one.put(0, b"A", 2, False)
    assert (one.vectors, one.tokens, one.truncated, one.missing) == ([b"A", b"B"], 5, 1, 0)


def test_documents_get_their_share_of_a_steady_stream_of_queries() -> None:
    queue = waiting(batch_tokens=60)
    queue.add(job(*["document " * 4] * 300))
    done = {"query": 0, "document": 0}
    for _ in range(400):
        queue.add(job("question", "question", kind="query"))
        batch = queue.take()
        done[batch[0].job.input_type] += work(batch)
    assert done["document"] / sum(done.values()) == pytest.approx(DOCUMENT_SHARE, abs=0.05)


def test_queries_owe_nothing_for_the_time_when_no_document_waited() -> None:
    queue = waiting(batch_tokens=60)
    for _ in range(100):
        queue.add(job("question", kind="query"))
        queue.take()
    queue.add(job("document"))
    queue.add(job("question", kind="query"))
    assert texts(queue.take()) == ["question"]


def test_what_goes_before_a_text_that_comes_now() -> None:
    queue = waiting(batch_texts=1)
    queue.add(job("a" * 40, "b" * 40))
    queue.add(job("q" * 8, kind="query"))
    assert (queue.tokens("query"), queue.tokens("document")) == (4, 28)
    assert (queue.count("query"), queue.count("document")) == (1, 2)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 2),
        ("Which projects use this?", 7),
        ("¿Qué proyectos usan esta librería?", 15),
        ("Какие проекты используют эту библиотеку для магазина?", 48),
        ("日本語のテキストはどのように分割されますか。検索システムの説明です。", 36),
        ("यह पुस्तकालय कौन सी परियोजनाएँ उपयोग करती हैं?", 34),
    ],
)
def test_the_estimate_is_near_the_tokenizers_count(text: str, tokens: int) -> None:
    assert 0.6 * tokens <= estimate_tokens(text) <= 1.4 * tokens
