"""The configuration of a command, and a word where it begins a new installation."""

import os
import sys

from app.bootstrap import Settings


def settings_here() -> Settings:
    """The settings. Where their data folder has no database yet, which is so in every folder but
    the one that `run` was started in, a line on stderr says that a new one is made."""
    settings = Settings()
    if settings.database_url is None and not _has_database(settings):
        sys.stderr.write(
            f"Making a new, empty installation in {settings.data.absolute()}; "
            "CITESTREAM_DATA names another.\n"
        )
        sys.stderr.flush()
    return settings


def _has_database(settings: Settings) -> bool:
    """Its files are in one of the two, or where the second says (`app.embedded.home`)."""
    names = "postgres", "postgres.location"
    return any(os.path.lexists(settings.data / name) for name in names)
