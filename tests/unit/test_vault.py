"""What is sealed opens where it was sealed, under a key that is known, and in no other case."""

import base64
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Conflict
from app.vault.keyring import InvalidKeys, parse_keys
from app.vault.sealing import LEAST_BYTES, Place, Undecryptable, Vault

OLD, NEW = (base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2))
PLACE = Place(7, "agents", 42, "api_key_sealed")
SECRET = b"sk-planted-0123456789"


def vault(*keys: str) -> Vault:
    return Vault(parse_keys(",".join(keys)))


def test_a_value_opens_where_it_was_sealed() -> None:
    sealed = vault(OLD).seal(SECRET, PLACE)
    assert vault(OLD).open(sealed, PLACE) == SECRET
    assert len(sealed) == LEAST_BYTES + len(SECRET)
    assert SECRET not in sealed


@given(
    st.binary(max_size=5000),
    st.builds(Place, st.integers(0, 2**63 - 1), st.text(), st.integers(0, 2**63 - 1), st.text()),
)
def test_any_value_comes_back(value: bytes, place: Place) -> None:
    each = vault(NEW)
    assert each.open(each.seal(value, place), place) == value


@pytest.mark.parametrize(
    "elsewhere",
    [{"row": 43}, {"tenant_id": 8}, {"column": "other"}, {"table": "portfolios"}],
)
def test_a_swapped_row_tenant_column_or_table_does_not_open(elsewhere: dict[str, object]) -> None:
    sealed = vault(OLD).seal(SECRET, PLACE)
    with pytest.raises(Undecryptable):
        vault(OLD).open(sealed, replace(PLACE, **elsewhere))


@given(
    *[st.tuples(st.text("ab1", max_size=3), st.text("ab1", max_size=3))] * 2,
)
def test_no_two_places_look_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    places = [Place(1, table, 1, column) for table, column in (one, other)]
    assert (places[0].encoded() == places[1].encoded()) == (one == other)


def test_each_flipped_bit_is_noticed() -> None:
    sealed = vault(OLD, NEW).seal(SECRET, PLACE)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(Undecryptable):
                vault(OLD, NEW).open(bytes(changed), PLACE)


def test_each_missing_or_added_byte_is_noticed() -> None:
    sealed = vault(OLD).seal(SECRET, PLACE)
    for changed in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(Undecryptable):
            vault(OLD).open(changed, PLACE)


def test_halves_of_two_values_do_not_make_one() -> None:
    """Not even where both were sealed for the same place: each has a data key of its own."""
    one, other = (vault(OLD).seal(each, PLACE) for each in (b"first", b"other"))
    with pytest.raises(Undecryptable):
        vault(OLD).open(one[:69] + other[69:], PLACE)


def test_the_same_value_never_looks_the_same() -> None:
    sealed = {vault(OLD).seal(SECRET, PLACE) for _ in range(100)}
    assert len(sealed) == 100
    assert len({each[9:21] for each in sealed} | {each[69:81] for each in sealed}) == 200


def test_keys_change_one_after_the_other() -> None:
    """Both are known while values are sealed anew, and none is lost on the way."""
    former = vault(OLD).seal(SECRET, PLACE)
    both = vault(NEW, OLD)
    assert not former.startswith(both.newest_prefix())
    now = both.reseal(former, PLACE)
    assert now.startswith(both.newest_prefix())
    assert vault(NEW).open(now, PLACE) == both.open(former, PLACE) == SECRET
    with pytest.raises(Undecryptable):
        vault(OLD).open(now, PLACE)
    with pytest.raises(Undecryptable):
        vault(NEW).open(former, PLACE)


def test_what_does_not_open_is_not_sealed_anew() -> None:
    both = vault(NEW, OLD)
    with pytest.raises(Undecryptable):
        both.reseal(vault(OLD).seal(SECRET, PLACE), replace(PLACE, row=1))


def test_without_a_key_nothing_is_kept() -> None:
    with pytest.raises(Conflict, match="AGENT_KMS_KEY"):
        Vault().seal(SECRET, PLACE)
    sealed = vault(OLD).seal(SECRET, PLACE)
    with pytest.raises(Conflict, match="AGENT_KMS_KEY"):
        Vault().newest_prefix()
    with pytest.raises(Undecryptable):
        Vault().open(sealed, PLACE)


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_both_alphabets_and_no_padding_are_the_same_key(padding: str) -> None:
    secret = b"\xfb\xff" * 16
    plain = base64.b64encode(secret).decode()
    other = base64.urlsafe_b64encode(secret).decode().rstrip("=") + padding
    assert "+" in plain
    assert "-" in other
    sealed = vault(plain).seal(SECRET, PLACE)
    assert vault(f" {other} ").open(sealed, PLACE) == SECRET


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key 1 .* empty"),
        (f"{OLD},", "key 2 .* empty"),
        ("ä" * 44, "key 1 .* not base64"),
        ("no base64!" * 4, "key 1 .* not base64"),
        ("A" * 45, "key 1 .* not base64"),
        (base64.b64encode(bytes(16)).decode(), "key 1 .* 16 bytes instead of 32"),
        (f"{NEW},{base64.b64encode(bytes(33)).decode()}", "key 2 .* 33 bytes instead of 32"),
        (f"{NEW},{OLD},{NEW.rstrip('=')}", "keys 1 and 3 are the same"),
    ],
)
def test_a_wrong_list_is_refused_by_what_to_do_about_it(text: str, says: str) -> None:
    with pytest.raises(InvalidKeys, match=says) as refused:
        parse_keys(text)
    for part in text.split(","):
        assert not part or part not in str(refused.value)


def test_no_key_is_in_a_representation() -> None:
    secret = os.urandom(32)
    [key] = parse_keys(base64.b64encode(secret).decode())
    assert repr(secret)[2:-1] not in repr(key)
    assert secret.hex() not in repr(key)
