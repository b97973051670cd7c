"""Find what to ingest below some paths, and name it so that the next run knows it again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import InvalidInput, UnsupportedMediaType
from app.ingest.parse import SUFFIXES

CONVERT = "`pdftotext` makes text of a PDF, `pandoc` Markdown of .docx."


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


def left_out(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """What `find_files` passes over below the folders, but for what is hidden: each by its path
    relative to the given folder, and why, sorted. Raises FileProblem for an unreadable folder."""
    return sorted(
        (file.relative_to(path).as_posix(), _why(file))
        for path in paths
        if path.is_dir()
        for file in visible(path)
        if not _is_read(file)
    )


def files_at(path: Path) -> Iterator[tuple[Path, str]]:
    if path.is_dir():
        for file in filter(_is_read, visible(path)):
            yield file, file.relative_to(path).as_posix()
    elif not path.exists():
        raise FileProblem(f"{path} does not exist.")
    elif path.suffix.lower() not in SUFFIXES:
        raise UnsupportedMediaType(
            f"{path} is not read; supported are {', '.join(SUFFIXES)}. {CONVERT}"
        )
    else:
        yield path, path.name


def visible(folder: Path) -> Iterator[Path]:
    """What is below the folder and not hidden; in the place of folders what is in them, but for
    links to folders, which could lead around in a circle."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FileProblem(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from visible(entry)
        else:
            yield entry


def _is_read(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file()


def _why(file: Path) -> str:
    if file.is_dir():
        return "a link to a folder"
    if not file.exists():
        return "a link that leads nowhere"
    return "not a file" if not file.is_file() else "a type that is not read"
