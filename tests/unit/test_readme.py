"""The README's configuration table and the settings are the same set of variables."""

import re
from pathlib import Path

from pydantic import BaseModel

from app.settings import PREFIX, Settings

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def variables() -> set[str]:
    names = set()
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= {f"{PREFIX}{name}__{each}".upper() for each in field.annotation.model_fields}
        else:
            names.add(str(field.validation_alias or f"{PREFIX}{name}".upper()))
    return names


def documented() -> set[str]:
    """Of each table row; a name that begins with `__` continues the section before it."""
    names, section = set(), ""
    for cell in re.findall(r"^\| (`[A-Z_].*?) \|", README, re.MULTILINE):
        for name in re.findall(r"`([A-Z_]+)`", cell):
            if not name.startswith("__"):
                section = name.partition("__")[0]
            names.add(section + name if name.startswith("__") else name)
    return names


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert documented() == variables()
