"""`make up` makes secrets that production takes, keeps those that are there, and adds the missing.

Docker is a program that does nothing here: what is tested ends before it is called.
"""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.production.rules import complaints
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
API = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["api"]
FORMER = ("agent_kms_key", "auth_secret")  # what deployments had not before they were needed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what `make up` needs, with a `docker` before the machine's own."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    shutil.copy(ROOT / ".env.example", tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\n")
    (programs / "docker").chmod(0o755)
    return tmp_path


def up(folder: Path) -> str:
    path = f"{folder / 'programs'}:{os.environ['PATH']}"
    done = subprocess.run(
        [folder / "deploy/compose/up"], env={"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def secrets(folder: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in (folder / "secrets").iterdir()}


def as_the_container_reads(folder: Path) -> dict[str, str]:
    """The variables of an API container, as its entry point makes them from the files."""
    entry = (folder / "deploy/compose/citestream").read_text()
    entry = re.sub(r"(?m)^exec .*$", "exec env", entry)
    files = {
        name: str(value).replace("/run/secrets", str(folder / "secrets"))
        for name, value in API["environment"].items()
        if not str(value).startswith("${")
    }
    environment = {"PATH": os.environ["PATH"], **files}
    printed = subprocess.run(
        ["/bin/sh", "-c", entry], env=environment, capture_output=True, text=True, check=True
    )
    return dict(line.partition("=")[::2] for line in printed.stdout.splitlines())


@pytest.fixture
def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings of an API container of this folder."""

    def settings() -> Settings:
        for name, value in as_the_container_reads(folder).items():
            if name != "PATH":
                monkeypatch.setenv(name, value)
        return Settings()

    return settings


def test_what_it_makes_is_fit_for_production(folder: Path, read: Any) -> None:
    printed = up(folder)
    settings = read()
    assert settings.environment == "production"
    assert complaints(settings) == []
    assert settings.auth.secret is not None and settings.openai_api_key is None
    assert "Keep a copy of secrets/agent_kms_key" in printed
    assert not [value for value in secrets(folder).values() if value and value in printed]
    for file in (folder / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700


def test_a_former_deployment_keeps_its_secrets_and_gets_the_missing(
    folder: Path, read: Any
) -> None:
    up(folder)
    for name in FORMER:
        (folder / "secrets" / name).unlink()
    before = secrets(folder)
    printed = up(folder)
    assert all(name in printed for name in FORMER)
    after = secrets(folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == set(FORMER)
    assert complaints(read()) == []
    assert "Made" not in up(folder)
    assert secrets(folder) == after


def test_an_upgrade_adds_them_too(folder: Path) -> None:
    up(folder)
    (folder / "secrets" / "agent_kms_key").unlink()
    path = f"{folder / 'programs'}:{os.environ['PATH']}"
    # It goes on to ask Docker how its containers are, for ever, because none is there.
    with subprocess.Popen(
        [folder / "deploy/compose/upgrade"], env={"PATH": path}, stdout=subprocess.PIPE, text=True
    ) as upgrading:
        try:
            assert upgrading.stdout is not None
            assert "agent_kms_key" in upgrading.stdout.readline()
        finally:
            upgrading.kill()
    assert (folder / "secrets" / "agent_kms_key").exists()
