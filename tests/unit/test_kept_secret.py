"""Secrets of a data folder: made once, kept, and for nobody else."""

import stat
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.embedded.process import EmbeddedError
from app.embedded.secrets import kept_secret


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = kept_secret(tmp_path, "auth")
    assert len(b64decode(first, validate=True)) == 32
    assert kept_secret(tmp_path, "auth") == first
    assert kept_secret(tmp_path, "kms") != first
    assert kept_secret(tmp_path / "secrets", "auth") != first


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    kept_secret(tmp_path, "auth")
    folder = tmp_path / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "auth").stat().st_mode) == 0o600


def test_all_who_ask_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: kept_secret(tmp_path, "auth"), range(64)))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_one_that_others_could_read_is_refused(tmp_path: Path, mode: int) -> None:
    kept_secret(tmp_path, "auth")
    (tmp_path / "secrets" / "auth").chmod(mode)
    with pytest.raises(EmbeddedError, match="chmod 600"):
        kept_secret(tmp_path, "auth")


@pytest.mark.parametrize("content", ["abc", "x" * 45, "\n" + "x" * 43])
def test_one_that_was_changed_is_refused(tmp_path: Path, content: str) -> None:
    kept_secret(tmp_path, "auth")
    (tmp_path / "secrets" / "auth").write_text(content)
    with pytest.raises(EmbeddedError, match="damaged"):
        kept_secret(tmp_path, "auth")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    kept_secret(tmp_path, "auth")
    (tmp_path / "secrets" / "kms").symlink_to(tmp_path / "secrets" / "auth")
    with pytest.raises(EmbeddedError, match="cannot be kept"):
        kept_secret(tmp_path, "kms")


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be kept"):
        kept_secret(tmp_path / "file", "auth")
