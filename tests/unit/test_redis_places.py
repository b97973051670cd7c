"""What decides where a key of a cluster is, and the addresses of its servers."""

import pytest
from redis.crc import key_slot

from app.chat.cache import answer_key, call_key, part_tag, passages_key, semantic_key, tenant_tag
from app.settings import ConfigurationError, Settings
from app.stores.redis_commands import hash_tag, key_of
from app.stores.redis_line import Command
from app.stores.redis_slots import cluster_address
from app.stores.tag_index import free_some, put_under, set_aside


@pytest.mark.parametrize(
    ("url", "places", "first"),
    [
        ("redis+cluster://one", ["one:6379"], "redis://one:6379"),
        ("redis+cluster://a:b%40c@one:1,two/", ["one:1", "two:6379"], "redis://a:b%40c@one:1"),
        ("redis+cluster://:b@[::1]:1,[::2]", ["[::1]:1", "[::2]:6379"], "redis://:b@[::1]:1"),
    ],
)
def test_an_address_names_some_of_the_servers(url: str, places: list[str], first: str) -> None:
    assert Settings(redis_url=url).redis_url == url
    address = cluster_address(url)
    assert address.places == places
    assert address.url(places[0]) == first


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:secret@",
        "redis+cluster://:secret@one,",
        "redis+cluster://:secret@one/0",
        "redis+cluster://:secret@one?db=1",
        "redis+cluster://:secret@one:port",
        "redis+cluster://:secret@one,:6379",
        "redis+cluster:one",
    ],
)
def test_what_is_none_is_refused_with_how_to_write_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write redis\+cluster://user:pass") as refused:
        Settings(redis_url=url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        (("SET", b"a", b"v", "EX", 1), "a"),
        (("EVAL", "return 1", 2, "a", "b", "c"), "a"),
        (("XREAD", "BLOCK", 1000, "STREAMS", "a", "0"), "a"),
        (("XREAD", "STREAMS", "a", "0"), "a"),
    ],
)
def test_a_commands_key_is_found(command: Command, key: str) -> None:
    assert key_of(command) == key


def test_all_of_a_tenant_has_one_slot() -> None:
    tags = [tenant_tag(7), part_tag("agent", 7, 1), part_tag("portfolio", 7, 2)]
    makers = (answer_key, passages_key, semantic_key, call_key)
    keys = [make(7, {"message": "?"}) for make in makers]
    for command in (*put_under(keys[0], 60, tags), *(set_aside(tag) for tag in tags)):
        count = command[2]
        assert isinstance(count, int)
        keys += [str(name) for name in command[3 : 3 + count]]
    keys.append(key_of(free_some(f"cache:dropped:{{7}}{1}".encode())))
    assert len(keys) == 4 + 4 + 2 * 3 + 1
    assert {hash_tag(key) for key in keys} == {"{7}"}
    assert {key_slot(key.encode()) for key in keys} == {key_slot(b"{7}")}


def test_braces_are_only_taken_whole() -> None:
    assert [hash_tag(key) for key in ("a:{1}:b{2}", "plain", "tenant:{12}")] == ["{1}", "", "{12}"]
