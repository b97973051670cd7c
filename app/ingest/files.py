"""Find what to ingest below some paths, and name it so that the next run knows it again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import InvalidInput, UnsupportedMediaType
from app.ingest.parse import SUFFIXES


class FileProblem(InvalidInput):
    """A file or folder cannot be read; check its path and your rights to it."""

    code = "file_problem"


def find_files(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Every supported file at or below the paths, each once, sorted, with its uri.

    The uri is the path relative to the given folder, with forward slashes; of a file given by
    itself it is the name. Hidden files and folders are left out, links to folders not followed.
    Raises FileProblem for a path that is missing or unreadable and for two files of one uri,
    UnsupportedMediaType for a file given by itself that nothing here reads.
    """
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    for path in paths:
        for file, uri in files_at(path):
            real = file.resolve()
            if real in seen:
                continue
            if uri in found:
                raise FileProblem(
                    f"{found[uri]} and {file} would both be {uri!r}; "
                    "give the folder that holds both of them instead."
                )
            seen.add(real)
            found[uri] = file
    return [(found[uri], uri) for uri in sorted(found)]


def files_at(path: Path) -> Iterator[tuple[Path, str]]:
    if path.is_dir():
        for file in below(path):
            yield file, file.relative_to(path).as_posix()
    elif not path.exists():
        raise FileProblem(f"{path} does not exist.")
    elif path.suffix.lower() not in SUFFIXES:
        raise UnsupportedMediaType(f"{path} is not read; supported are {', '.join(SUFFIXES)}.")
    else:
        yield path, path.name


def below(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FileProblem(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from below(entry)
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            yield entry
