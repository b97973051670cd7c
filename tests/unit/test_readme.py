"""The README's configuration table and the settings are the same set of variables."""

import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from app.settings import PREFIX, Settings

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def variables() -> set[str]:
    names = set()
    for name, field in Settings.model_fields.items():
        for section in sections(field.annotation):
            names |= {f"{PREFIX}{name}__{each}".upper() for each in section.model_fields}
        if not sections(field.annotation):
            names.add(str(field.validation_alias or f"{PREFIX}{name}".upper()))
    return names


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The group of settings that a field is, also where it may be None."""
    kinds = (annotation, *get_args(annotation))
    return [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]


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
