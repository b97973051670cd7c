"""One matrix of vectors in one file: what it must be, and how it is checked, written and mapped.

A file is a header of 128 bytes (magic, format, bytes a number, dimension, rows, fingerprint,
SHA-256 of what follows), then the rows, little-endian. The header makes a wrong file recognisable
in microseconds, the checksum a damaged one at 1.8 GB/s.
"""

import mmap
import os
import stat
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "float16"]
Matrix: TypeAlias = NDArray[np.floating[Any]]

MAGIC = b"CITEVECS"
FORMAT = 1
HEADER = struct.Struct("<8sHHIQ32s32s40x")
CHECKSUM_AT = 56
# Checked in pieces, so that the temporary array of booleans stays small beside the vectors.
CHECK_BYTES = 1 << 22


class VectorsRefused(ValueError):
    """What was computed cannot be vectors of these texts; the message says why."""


class Damaged(Exception):
    """A file is not an entry, or no longer what was written."""


class Identified(Protocol):
    """What a cache must know of an encoder; `app.encoder.backend.ModelInfo` is one.

    `id` is model and revision in one word: encoders of different vectors have different ids.
    """

    @property
    def id(self) -> str: ...

    @property
    def dimension(self) -> int: ...


class Texts(tuple[str, ...]):
    """Texts that are hashed once: with the same object again a hit costs microseconds, however
    many texts there are (130,000 of 100 characters in a list take 25 ms each time)."""

    @cached_property
    def digest(self) -> bytes:
        return _digest(self)


@dataclass(frozen=True, slots=True)
class Mapped:
    """An entry's vectors and the file they are in."""

    matrix: Matrix
    file: os.stat_result


@dataclass(frozen=True, slots=True)
class Wanted:
    """The entry that answers one request. `name` is of its file, the same for changed texts;
    `fingerprint` is of everything that the vectors depend on."""

    name: str
    fingerprint: bytes
    rows: int
    dimension: int
    dtype: DType

    @property
    def numpy_dtype(self) -> np.dtype[np.floating[Any]]:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def file_bytes(self) -> int:
        return HEADER.size + self.rows * self.dimension * self.numpy_dtype.itemsize

    def header(self, checksum: bytes) -> bytes:
        itemsize = self.numpy_dtype.itemsize
        shape = (self.dimension, self.rows)
        return HEADER.pack(MAGIC, FORMAT, itemsize, *shape, self.fingerprint, checksum)


def describe(key: str, encoder: Identified, texts: Sequence[str], dtype: DType) -> Wanted:
    """The entry for these texts. Raises TypeError for a key or texts that are not strings."""
    if not isinstance(key, str) or isinstance(texts, (str, bytes)):
        raise TypeError("The key must be a string and the texts a sequence of strings.")
    if not 1 <= encoder.dimension < 1 << 32:
        raise ValueError(f"An encoder cannot have {encoder.dimension} dimensions.")
    kind = _joined(key, encoder.id, dtype, str(encoder.dimension))
    digest = texts.digest if isinstance(texts, Texts) else _digest(texts)
    return Wanted(
        name=sha256(kind).hexdigest()[:40],
        fingerprint=sha256(kind + digest + FORMAT.to_bytes(2, "little")).digest(),
        rows=len(texts),
        dimension=encoder.dimension,
        dtype=dtype,
    )


def checked(result: object, wanted: Wanted) -> Matrix:
    """The computed vectors as they are stored, without a copy where they are so already.

    Raises VectorsRefused where their number, dimension or type is wrong or a number not finite.
    """
    try:
        given = np.asarray(result)
    except (ValueError, TypeError) as error:
        raise VectorsRefused("The computed vectors differ in length.") from error
    if given.dtype.kind not in "fiu":
        raise VectorsRefused(f"The computed vectors are not numbers but {given.dtype}.")
    if given.shape != (wanted.rows, wanted.dimension):
        raise VectorsRefused(
            f"The computed vectors have the shape {given.shape} instead of "
            f"{(wanted.rows, wanted.dimension)}."
        )
    with np.errstate(over="ignore"):  # a number too large for the type is found below
        matrix: Matrix = np.ascontiguousarray(given, dtype=wanted.numpy_dtype)
    step = max(1, CHECK_BYTES // wanted.dimension)
    for start in range(0, wanted.rows, step):
        if not np.isfinite(matrix[start : start + step]).all():
            raise VectorsRefused("The computed vectors hold a value that is not a finite number.")
    return _read_only(matrix)


def write(path: Path, wanted: Wanted, matrix: Matrix) -> None:
    """Write a new file, readable by its owner alone, and have it on the disk. Raises OSError."""
    data = matrix.reshape(-1).view(np.uint8).data
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(wanted.header(sha256(data).digest()))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, wanted: Wanted) -> Mapped | None:
    """The vectors of a file, mapped, read-only and checked; they stay valid for as long as the
    array lives, whatever becomes of the file's name. None where there is no file, or one of
    other texts or another format. Raises Damaged.
    """
    try:
        # Without O_NONBLOCK a pipe under this name would block us.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            return _map(file.fileno(), wanted)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(error.strerror) from error


def _map(descriptor: int, wanted: Wanted) -> Mapped | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise Damaged("not a file of this user")
    header = os.pread(descriptor, HEADER.size, 0)
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise Damaged("not an entry")
    if header[:CHECKSUM_AT] != wanted.header(b"")[:CHECKSUM_AT]:
        return None
    # A shorter file would end this process (SIGBUS) where the mapping is read beyond its end.
    if status.st_size != wanted.file_bytes:
        raise Damaged("the wrong length")
    mapping = mmap.mmap(descriptor, wanted.file_bytes, access=mmap.ACCESS_READ)
    data = np.frombuffer(mapping, np.uint8, offset=HEADER.size)
    if wanted.header(sha256(data.data).digest()) != header:
        raise Damaged("the wrong checksum")
    matrix: Matrix = data.view(wanted.numpy_dtype).reshape(wanted.rows, wanted.dimension)
    return Mapped(matrix, status)


def _read_only(matrix: Matrix) -> Matrix:
    view = matrix.view()
    view.flags.writeable = False
    return view


def _digest(texts: Sequence[str]) -> bytes:
    """SHA-256 of the texts; their lengths keep ("ab", "c") apart from ("a", "bc")."""
    try:
        return sha256(_joined(*texts)).digest()
    except TypeError as error:
        raise TypeError("The texts must be strings.") from error


def _joined(*texts: str) -> bytes:
    # One pass a step, because a loop over 130,000 texts would take longer than their hash.
    lengths = array("Q", map(len, texts)).tobytes()
    count = len(texts).to_bytes(8, "little")
    return count + lengths + "".join(texts).encode("utf-8", "surrogatepass")
