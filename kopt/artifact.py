"""Turn values into files and back: canonical JSON, digests, atomic writes, and tables with a fixed schema.

A file is whole or absent.  What a value means is the business of `kopt.model`; where stored items lie, that of
`kopt.store`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kopt.errors import CorruptArtifact, TableError, with_place

if TYPE_CHECKING:
    import pyarrow as pa

V = TypeVar("V", bound=BaseModel)

MOST_BYTES = 4 << 30
"""Most bytes of a file of a run; none of kopt's comes near."""
TEMPORARY = ".tmp"
"""Suffix of files that are being written; one stays behind where a process was killed while it wrote."""


def canonical_json(value: Any) -> str:  # Any: what `json.dumps` takes, models and nested containers alike
    """Return JSON with sorted keys and no spaces: equal values give equal text, whatever PYTHONHASHSEED is.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
        TypeError: for sets, which have no order, and for other values that JSON does not have.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:  # Any: as `canonical_json`
    """Return the SHA-256 of a value's canonical JSON, hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, hex: the name of a kernel's source."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_bytes(path: Path, content: bytes, *, synced: bool = True) -> None:
    """Write a file whole or not at all: a temporary file beside it, synced, then renamed over it.

    Args:
        path: the file.
        content: its bytes.
        synced: whether the file must survive a loss of power; False for files that only people read.
    """
    with _temporary_file(path, content, synced=synced) as temporary:
        os.replace(temporary, path)


def write_new_bytes(path: Path, content: bytes) -> bool:
    """Write a file whole unless there is one already; return whether it was written.

    Of several processes that write at once one succeeds, since a hard link replaces no file; on a file system without
    hard links the last one wins.
    """
    with _temporary_file(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            os.replace(temporary, path)
    return True


@contextmanager
def _temporary_file(path: Path, content: bytes, *, synced: bool = True) -> Iterator[Path]:
    """Write a temporary file beside `path`; delete it afterwards if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        yield temporary
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is reported without a name
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def plain_file(path: Path, most: int, *, follow: bool = False) -> Iterator[BinaryIO]:
    """Open a file that somebody else put there, for reading.

    Args:
        path: the file.
        most: bytes that it may have.
        follow: follow a link to a file.

    Raises:
        ValueError: the path is a link, a folder, a pipe or a device, or the file is larger.
        OSError: the file cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW) | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError("it is a link or a socket, not a plain file") from error
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        os.close(handle)
        if stat.S_ISREG(status.st_mode):
            raise ValueError(f"it is larger than {most >> 20} MiB")
        raise ValueError("it is a folder, a pipe or a device, not a plain file")
    with os.fdopen(handle, "rb") as file:
        yield file


def read_plain(path: Path) -> bytes:
    """Return the content of a file in a run's folder; what is no file, such as a pipe, is refused and never waited for.

    Raises:
        CorruptArtifact: the path is a folder, a pipe, a socket or a device.
        OSError: the file cannot be opened.
    """
    try:
        with plain_file(path, MOST_BYTES, follow=True) as file:
            return file.read()
    except ValueError as error:
        raise CorruptArtifact(f"{path} is not read: {error}; move it away and run again") from error


def write_text(path: Path, content: str, *, synced: bool = True) -> None:
    """Write UTF-8 text whole or not at all, as `write_bytes`."""
    write_bytes(path, content.encode(), synced=synced)


def write_value(path: Path, value: BaseModel, *, synced: bool = True) -> None:
    """Write a value as indented JSON with sorted keys, readable and reproducible byte for byte, as `write_bytes`."""
    text = json.dumps(value.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_text(path, text, synced=synced)


def read_value(path: Path, model: type[V]) -> V:
    """Read a value that `write_value` wrote.

    Raises:
        CorruptArtifact: the file is torn, holds no such value, or is no plain file.
    """
    try:
        return model.model_validate_json(read_plain(path))
    except ValidationError as error:
        raise CorruptArtifact(f"{path} is not a {model.__name__}: delete it and run again ({_first(error)})") from error


def read_values(paths: Sequence[Path], model: type[V]) -> list[V]:
    """Read the values of several files, in the order of the paths."""
    return [read_value(path, model) for path in paths]


def _first(error: ValidationError) -> str:
    """Return the first fault of a validation, in one line."""
    return with_place(error.errors(include_url=False)[0])


@cache
def load_pyarrow() -> None:
    """Load PyArrow without NumPy, which it needs for arrays alone and which would be the slowest import of most jobs.

    NumPy can be loaded afterwards as ever.
    """
    hidden = "numpy" not in sys.modules
    if hidden:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # makes an import fail, as Python documents
    try:
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401
    finally:
        if hidden:
            del sys.modules["numpy"]


def write_table(path: Path, rows: Iterable[V], model: type[V]) -> None:
    """Write rows as Parquet with the schema of `model`, also when there are no rows; equal rows give equal bytes."""
    load_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(_table(rows, model), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def read_table(path: Path, model: type[V]) -> list[V]:
    """Read rows that `write_table` wrote.

    Raises:
        TableError: the file is not Parquet, has another schema than `model`, or a row contradicts itself.
    """
    load_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(read_plain(path))).read()
    except (pa.ArrowInvalid, OSError, CorruptArtifact) as error:
        raise TableError(f"{path} cannot be read as Parquet: delete it and run again ({error})") from error
    if not table.schema.equals(table_schema(model)):
        raise TableError(f"{path} does not have the columns of {model.__name__}: delete it and run again")
    try:
        return [model.model_validate(row) for row in table.to_pylist()]
    except ValidationError as error:
        raise TableError(f"{path} has a wrong row: delete it and run again ({_first(error)})") from error


def read_tables(paths: Sequence[Path], model: type[V]) -> list[V]:
    """Read the rows of several tables of one schema, in the order of the paths."""
    return [row for path in paths for row in read_table(path, model)]


def table_schema(model: type[BaseModel]) -> pa.Schema:
    """Return the Arrow schema of a flat model.

    Raises:
        TypeError: a field's type has no column type, e.g. a nested model.
    """
    load_pyarrow()
    import pyarrow as pa

    return pa.schema([_field(name, info.annotation) for name, info in model.model_fields.items()])


def _table(rows: Iterable[BaseModel], model: type[BaseModel]) -> pa.Table:
    """Turn rows into an Arrow table by way of JSON lines: `Table.from_pylist` imports pandas, 0.25 s in every job."""
    import pyarrow.json

    schema = table_schema(model)
    lines = "\n".join(row.model_dump_json() for row in rows).encode()
    if not lines:
        return schema.empty_table()
    options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    whole = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    table = pyarrow.json.read_json(pyarrow.py_buffer(lines), read_options=whole, parse_options=options)
    return pyarrow.Table.from_arrays(table.columns, schema=schema)


def _field(name: str, annotation: Any) -> pa.Field:  # Any: an annotation need not be a type (`float | None`)
    import pyarrow as pa

    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = [a for a in get_args(annotation) if a is not type(None)]
        optional = True
    return pa.field(name, _column(name, annotation), nullable=optional)


def _column(name: str, annotation: Any) -> pa.DataType:  # Any: as in `_field`
    import pyarrow as pa

    if get_origin(annotation) is tuple:
        item, ellipsis = get_args(annotation)
        assert ellipsis is Ellipsis
        return pa.list_(_column(name, item))
    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if annotation in scalars:
        return scalars[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string()
    if get_origin(annotation) is Literal and all(isinstance(choice, str) for choice in get_args(annotation)):
        return pa.string()
    raise TypeError(f"column {name}: {annotation} has no column type")
