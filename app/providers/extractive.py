"""Answers without a language model: it quotes the sentences of the passages that answer best."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence

from app.chat.citations import without_markers
from app.chat.model import Passage, QueryComplexity, Usage
from app.chat.ports import Finish, Prompt
from app.providers.phrases import identity, phrases, small_talk
from app.providers.ranking import Candidate, Ranking, choose, rank
from app.providers.sentences import split_sentences
from app.providers.sides import asks_for_several, sides_of

# How many sentences at most, and how near to the best one's score the others must come: these
# floors leave out a quarter of the sentences and lose one XQuAD answer in a hundred.
SENTENCES = {
    QueryComplexity.TRIVIAL: (1, 0.75),
    QueryComplexity.SIMPLE: (2, 0.75),
    QueryComplexity.MEDIUM: (4, 0.7),
    QueryComplexity.COMPLEX: (4, 0.5),
}
SENTENCES_A_DOCUMENT = 2
SENTENCES_A_SIDE = 2
SENTENCES_A_VOICE = 2
# A document is on a list when its best sentence comes this near to the best of all.
LIST_FLOOR = 0.65
WORDS_A_DELTA = 4
CHARS_A_TOKEN = 4  # an estimate, as everywhere where no vendor counts

_DELTA = re.compile(rf"\s*(?:\S+\s*){{1,{WORDS_A_DELTA}}}")
_MARKUP = re.compile(r"[\[\]【】*_`<>#|\\\s]+")


class ExtractiveProvider:
    """Needs neither a key nor a network. What it says about a document is always a quotation,
    followed by the passage's number; texts are compared, never interpreted."""

    name = "extractive"
    model = "extractive-1"
    uses_history = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[list[str] | Finish, None]:
        """Yield the answer a few words at a time, then Finish("stop")."""
        text = answer(prompt)
        for delta in _DELTA.findall(text):
            yield [delta]
            await asyncio.sleep(0)  # others' requests go on between two deltas
        prompt_chars = len(prompt.question) + sum(len(each.text) for each in prompt.passages)
        yield Finish("stop", Usage(tokens_of(prompt_chars), tokens_of(len(text)), estimated=True))


def answer(prompt: Prompt) -> str:
    """The whole answer to a prompt."""
    words = phrases(prompt.language)
    system = prompt.messages[0].content if prompt.messages else ""
    if reply := identity(prompt.question, prompt.language, system):
        return in_own_words(prompt) or reply
    if not prompt.passages or prompt.complexity is QueryComplexity.TRIVIAL:
        if reply := small_talk(prompt.question, prompt.language):
            return reply
        if prompt.complexity is QueryComplexity.TRIVIAL and not prompt.passages:
            return words.ask_more
        if not prompt.passages:
            return words.no_documents
    return compose(prompt) or words.nothing


def in_own_words(prompt: Prompt) -> str | None:
    """What the agent's own voice says of itself: the sentences that answer, or how it begins;
    None where it has no voice."""
    voice = [passage for passage in prompt.passages if "persona" in passage.sources]
    if not voice:
        return None
    ranking = rank(prompt.question, prompt.language, voice)
    if best := choose(ranking.candidates, SENTENCES_A_VOICE):
        return " ".join(quoted(each) for each in best)
    first = split_sentences(voice[0].text)[:SENTENCES_A_VOICE]
    return " ".join(cited(sentence.text, voice[0]) for sentence in first) or None


def compose(prompt: Prompt) -> str | None:
    """The answer in the form that the question's complexity asks for, within its budget of
    tokens; None where the passages are not about the question."""
    words = phrases(prompt.language)
    budget = prompt.max_tokens * CHARS_A_TOKEN
    ranking = rank(prompt.question, prompt.language, prompt.passages)
    if prompt.complexity is QueryComplexity.COMPLEX:
        sides = by_side(prompt.question, ranking)
        if all(sides) or (any(sides) and ranking.answers):
            chosen = list(dict.fromkeys(each for side in sides for each in side))
            text = f"{words.several}\n\n{listed(within(chosen, budget))}"
            return text if all(sides) else f"{text}\n\n{words.one_side}"
    if not ranking.answers:
        return None
    if prompt.complexity is QueryComplexity.COMPREHENSIVE:
        chosen = by_document(ranking.candidates, SENTENCES_A_DOCUMENT)
        return f"{words.several}\n\n{listed(within(chosen, budget))}"
    if asks_for_several(prompt.question):
        chosen = by_document(ranking.candidates, 1)
        if len(chosen) > 1:
            return f"{words.several}\n\n{listed(within(chosen, budget))}"
    count, floor = SENTENCES[prompt.complexity]
    chosen = choose(ranking.candidates, count, floor=floor)
    return " ".join(quoted(each) for each in within(chosen, budget))


def by_document(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """For each document that matches, its best sentence and, up to `count`, what covers what that
    one leaves open; the documents in the order of their best sentences."""
    best: dict[int, list[Candidate]] = {}
    for each in candidates:
        mine = best.get(each.passage.document_id)
        if mine is None:
            if each.score >= LIST_FLOOR * candidates[0].score:
                best[each.passage.document_id] = [each]
        elif len(mine) < count and each.covers - mine[0].covers:
            mine.append(each)
    return [each for mine in best.values() for each in mine]


def by_side(question: str, ranking: Ranking) -> list[list[Candidate]]:
    """The best sentences on each side of a comparison, empty for a side that the passages do not
    know; [[]] where the question names no sides."""
    sides = sides_of(question)
    return [best_of(side, frozenset().union(*sides) - side, ranking) for side in sides] or [[]]


def best_of(side: frozenset[str], others: frozenset[str], ranking: Ranking) -> list[Candidate]:
    """A side's own documents first, then what else of the question a sentence answers, then the
    order of the text: a document begins with what its subject is.

    A side that no title names is a kind of thing: one sentence of each document that has as much
    of the question as the best one.
    """
    mine = [each for each in ranking.candidates if about(side, each)]

    def worth(each: Candidate) -> tuple[bool, bool, int]:
        return side <= each.title_stems, not others & each.stems, len(each.covers - side)

    mine.sort(key=lambda each: each.passage.start + each.sentence.start)
    mine.sort(key=worth, reverse=True)
    if not mine or side <= mine[0].title_stems:
        return choose(mine, SENTENCES_A_SIDE, floor=0.0)
    documents: dict[int, Candidate] = {}
    for each in mine:
        if worth(each) == worth(mine[0]):
            documents.setdefault(each.passage.document_id, each)
    return list(documents.values())


def about(side: frozenset[str], candidate: Candidate) -> bool:
    """True where a sentence or its title holds every word of a side."""
    return bool(side) and side <= candidate.stems | candidate.title_stems


def within(chosen: Sequence[Candidate], chars: int) -> Iterator[Candidate]:
    """The chosen sentences that fit, at least one."""
    for number, each in enumerate(chosen):
        chars -= len(quoted(each))
        if number and chars < 0:
            return
        yield each


def listed(chosen: Iterator[Candidate]) -> str:
    """One bullet a document, in the order of their first sentences."""
    bullets: dict[int, list[str]] = {}
    titles: dict[int, str] = {}
    for each in chosen:
        bullets.setdefault(each.passage.document_id, []).append(quoted(each))
        titles[each.passage.document_id] = title_of(each.passage)
    return "\n".join(f"- {titles[key]}{' '.join(quotes)}" for key, quotes in bullets.items())


def quoted(candidate: Candidate) -> str:
    """The sentence as it stands in its passage, with the passage's number."""
    return cited(candidate.sentence.text, candidate.passage)


def cited(text: str, passage: Passage) -> str:
    return f"{without_markers(text)} [{passage.number}]"


def title_of(passage: Passage) -> str:
    """The title in bold, without what Markdown or a citation marker is made of."""
    title = _MARKUP.sub(" ", passage.title).strip()
    return f"**{title}**: " if title else ""


def tokens_of(chars: int) -> int:
    return max(1, chars // CHARS_A_TOKEN)
