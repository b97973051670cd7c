"""Profiles: settings for a purpose, as a YAML file.

The names are those of the settings, in lower case, a section's own below it:
`CITESTREAM_DATABASE__POOL_SIZE=20` is

    database:
      pool_size: 20

Keys, passwords and servers' addresses have no place in a profile, which is for passing on. Those
beside this file are shipped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.settings import PREFIX, ConfigurationError, Settings
from app.settings.sections import Section

FOLDER = Path(__file__).parent
PROFILE = "profile"  # the setting that names one, and is not in one


@dataclass(frozen=True, slots=True)
class Profile:
    """Settings that are valid by themselves: `values` by name, a section's in a mapping."""

    name: str
    values: Mapping[str, Any]

    def by_alias(self) -> dict[str, Any]:
        """The values as `Settings()` takes them."""
        aliases = {
            name: str(f.validation_alias or name) for name, f in Settings.model_fields.items()
        }
        return {aliases[name]: value for name, value in self.values.items()}

    def variables(self) -> dict[str, str]:
        """The same for the environment of a process, where `Settings()` reads them."""
        made = {}
        for name, value in self.values.items():
            field = Settings.model_fields[name]
            variable = str(field.validation_alias or PREFIX + name.upper())
            parts = value if isinstance(value, Mapping) else {"": value}
            for part, each in parts.items():
                if each is not None:  # as it is without the variable
                    made[f"{variable}__{part.upper()}" if part else variable] = _text(each)
        return made


def shipped() -> dict[str, Path]:
    """The profiles that come with the program, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def find_profile(named: str) -> Profile:
    """A shipped one by its name, else the file of that name. Raises ConfigurationError."""
    known = shipped()
    if named in known:
        return read_profile(known[named])
    file = Path(named).expanduser()
    if not file.suffix and not file.exists():
        raise ConfigurationError(
            f"{named} is no profile; there are {', '.join(known)}, or name a YAML file of yours."
        )
    return read_profile(file)


def read_profile(file: Path) -> Profile:
    """Raises ConfigurationError with a sentence for each thing that is wrong."""
    # Not above: only a process that is given a profile needs it.
    import yaml

    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{file} cannot be read.") from None
    try:
        values = yaml.safe_load(text)
        doubled = [*_doubled(yaml.compose(text, Loader=yaml.SafeLoader))]
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not YAML: {_where(error)}.") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{file} has no settings; it takes lines as `database:`.")
    wrong = [*doubled, *_unknown(values)] or _invalid(values)
    if wrong:
        raise ConfigurationError(" ".join(f"{file.name}: {sentence}" for sentence in wrong))
    return Profile(file.stem, values)


class _Alone(Settings):
    """A profile's settings, without the environment's."""

    def __init__(self, **values: Any) -> None:
        BaseSettings.__init__(self, **values)  # its error tells names, and not those of variables

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _invalid(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that its setting does not take; none has the value itself."""
    try:
        _Alone(**values)
    except ValidationError as error:
        names = {str(f.validation_alias): n for n, f in Settings.model_fields.items()}
        return [
            f"{'.'.join(names.get(str(part), str(part)) for part in detail['loc'])}: "
            f"{detail['msg']}."
            for detail in error.errors()
        ]
    return []


def _unknown(values: Mapping[Any, Any]) -> Iterator[str]:
    """A sentence for each name that is no setting, or none for a profile."""
    for name, value in values.items():
        field = Settings.model_fields.get(name) if isinstance(name, str) else None
        if field is None or _private(field) or name == PROFILE:
            yield _refusal(str(name), "", Settings.model_fields)
        elif (section := _section(field)) is not None and value is not None:
            yield from _unknown_parts(name, section.model_fields, value)


def _unknown_parts(name: str, fields: Mapping[str, FieldInfo], value: Any) -> Iterator[str]:
    """The same of a section."""
    if not isinstance(value, Mapping):
        yield f"{name} has settings of its own: {_known(fields)}."
        return
    for part in value:
        if part not in fields or _private(fields[part]):
            yield _refusal(str(part), f"{name}.", fields)


def _refusal(name: str, before: str, fields: Mapping[str, FieldInfo]) -> str:
    if name in fields:
        return f"{before}{name} has no place in a profile; set it in the environment."
    near = get_close_matches(name, fields, 1)
    hint = f"did you mean {before}{near[0]}?" if near else f"known are {_known(fields)}."
    return f"{before}{name} is not a setting; {hint}"


def _known(fields: Mapping[str, FieldInfo]) -> str:
    public = (name for name, field in fields.items() if not _private(field) and name != PROFILE)
    return ", ".join(public)


def _private(field: FieldInfo) -> bool:
    """Whether it is, or may have in it, a password; or is where servers are."""
    return not field.repr or SecretStr in (field.annotation, *get_args(field.annotation))


def _section(field: FieldInfo) -> type[Section] | None:
    kinds = (field.annotation, *get_args(field.annotation))
    sections = [each for each in kinds if isinstance(each, type) and issubclass(each, Section)]
    return sections[0] if sections else None


def _doubled(node: Any) -> Iterator[str]:
    """A sentence for each name that comes twice in a mapping, of which YAML would take the last."""
    if node is None or node.id != "mapping":
        return
    seen = set()
    for key, value in node.value:
        if key.value in seen:
            yield f"{key.value} comes twice, again in line {key.start_mark.line + 1}."
        seen.add(key.value)
        yield from _doubled(value)


def _where(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be understood"
    return f"line {mark.line + 1}, {problem}" if mark is not None else str(problem)


def _text(value: Any) -> str:
    """As `Settings()` reads it back."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
