"""The JSON objects of usage, as `shapes` has the others'."""

from datetime import date

from typing_extensions import TypedDict


class DayOfUseJson(TypedDict):
    day: date
    subject: str
    model: str
    answers: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float


class UsageByDayJson(TypedDict):
    items: list[DayOfUseJson]
    next: None
