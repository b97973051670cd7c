"""AGENT_KMS_KEY as the service takes it: a wrong one ends its start with what to do about it."""

import base64

import pytest

from app.bootstrap.clients import open_vault
from app.settings import ConfigurationError, Settings
from app.vault.sealing import Place

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize("keys", ["planted", f"{KEY},planted", f"{KEY},{KEY}", f"{KEY},", KEY[:-8]])
def test_a_wrong_list_ends_the_start(keys: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^AGENT_KMS_KEY: the key") as refused:
        open_vault(Settings(kms_keys=keys))
    assert "planted" not in str(refused.value)
    assert KEY[:-8] not in str(refused.value)


def test_a_right_one_seals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_KMS_KEY", KEY)
    settings = Settings()
    place = Place(1, "t", 2, "c")
    assert open_vault(settings).open(open_vault(settings).seal(b"v", place), place) == b"v"
    assert KEY not in repr(settings)
