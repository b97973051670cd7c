"""Which languages an encoder is known for, where its server does not say."""

from collections.abc import Sequence

import pytest

from app.encoder.caching import CachingEncoder
from app.encoder.folder import known_languages
from app.encoder.standby import StandbyEncoder
from app.stores.redis_cache import NoCache
from tests.support.encoder import HashEncoder


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", ("en",)),
        ("BAAI/bge-m3", ("*",)),
        ("bge-m3", ("*",)),
        ("text-embedding-3-small", None),
        ("", None),
    ],
)
def test_known_models(name: str, languages: Sequence[str] | None) -> None:
    assert known_languages(name) == languages


class English(HashEncoder):
    languages = ("en",)

    async def ping(self) -> None: ...


def test_the_languages_go_through_what_stands_before_an_encoder() -> None:
    assert CachingEncoder(StandbyEncoder(English(), None), NoCache()).languages == ("en",)
