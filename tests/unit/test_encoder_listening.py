"""Addresses of the encoder: one service each, whoever is first, and nobody's socket removed."""

import socket
from pathlib import Path
from threading import Barrier, Thread

import pytest

from app.encoder.listening import AddressUnusable, Listener, bind


def left_behind(path: Path) -> None:
    """A socket as a killed service leaves it."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_of_many_that_are_started_at_once_one_listens(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.sock"
        left_behind(path)
        start, bound, refused = Barrier(4), list[Listener](), list[AddressUnusable]()

        def take(
            path: Path = path,
            start: Barrier = start,
            bound: list[Listener] = bound,
            refused: list[AddressUnusable] = refused,
        ) -> None:
            start.wait(10)
            try:
                bound.append(bind("", 0, str(path)))
            except AddressUnusable as error:
                refused.append(error)

        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert (len(bound), len(refused)) == (1, 3)
        assert connects(path)
        bound[0].close()
        assert not path.exists()


def test_closing_leaves_what_another_has_put_there(tmp_path: Path) -> None:
    path = tmp_path / "encoder.sock"
    first = bind("", 0, str(path))
    path.unlink()
    second = bind("", 0, str(path))
    first.close()
    assert connects(path)
    second.close()
    assert not path.exists()


def test_closing_twice_or_after_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    listener = bind("", 0, str(folder / "encoder.sock"))
    (folder / "encoder.sock").unlink()
    folder.rmdir()
    listener.close()
    listener.close()


def test_a_link_to_a_socket_is_followed_to_whoever_answers(tmp_path: Path) -> None:
    listener = bind("", 0, str(tmp_path / "real.sock"))
    link = tmp_path / "link.sock"
    link.symlink_to("real.sock")
    with pytest.raises(AddressUnusable, match="in use by another encoder"):
        bind("", 0, str(link))
    listener.close()
